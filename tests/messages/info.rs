//! What tasks learn of a message beside its payload.

use femtows::message::*;
use femtows::testkit::TestKit;
use femtows::{SendOptions, WSMsgType};

use crate::ends::*;

#[test]
fn messages_have_their_bytes_on_the_wire_and_what_is_behind_them() {
    // Taken straight from the read if the task waits, from the queue if it comes late.
    for is_late in [false, true] {
        let mut kit = TestKit::new(1);
        let log = Log::new();
        let (noted, handle) = (log.clone(), kit.handle());
        let handler = move |ws: WebSocket| {
            let (noted, handle) = (noted.clone(), handle.clone());
            async move {
                ws.accept().await?;
                if is_late {
                    handle.sleep(SECOND).await;
                }
                while let Some((message, info)) = ws.recv_with_info().await? {
                    assert_eq!((info.is_compressed, info.received_at), (false, None));
                    noted.add((message.into_text(), info.wire_len, info.last_in_buffer, info.tail_size));
                }
                Ok::<(), WebSocketError>(())
            }
        };
        let mut peer = raw(&mut kit, handler, WebSocketConfig::default());
        peer.upgrade(&mut kit);
        let piece = SendOptions { fin: false, ..SendOptions::default() };
        let whole = peer.encode_frame(WSMsgType::Text, b"whole", SendOptions::default());
        let large = peer.encode_frame(WSMsgType::Binary, &[b'x'; 5000], SendOptions::default());
        let pieces = [
            peer.encode_frame(WSMsgType::Binary, b"in ", piece),
            peer.encode_frame(WSMsgType::Continuation, b"three ", piece),
            peer.encode_frame(WSMsgType::Continuation, b"pieces", SendOptions::default()),
        ]
        .concat();
        let frames = [&whole[..], &whole, &large, &pieces, &whole, &whole[..3]];
        assert_eq!(peer.write(&frames.concat()), frames.concat().len());
        kit.run_until_idle();
        kit.advance(2 * SECOND);
        let behind = |nth: usize| frames[nth + 1..].concat().len();
        let expected = [
            ("whole".to_owned(), whole.len(), false, behind(0)),
            ("whole".to_owned(), whole.len(), false, behind(1)),
            ("x".repeat(5000), large.len(), false, behind(2)),
            ("in three pieces".to_owned(), pieces.len(), false, behind(3)),
            ("whole".to_owned(), whole.len(), true, 3),
        ];
        assert_eq!(log.take(), expected, "late: {is_late}");
    }
}
