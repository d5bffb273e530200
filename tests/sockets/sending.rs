//! The ways to send.

use femtows::{
    SendOptions, WS_HEADROOM, WSBuffer, WSConnectConfig, WSDropReason, WSError, WSMessageOptions, WSMsgType,
    WSPreparedFrame, WSPreparedMessage, WSSendStatus, WSServerConfig, WSTransport, WSTuning, WSWriteStrategy,
};

use crate::support::pattern;
use crate::support::peer::{Peer, PeerServer};
use crate::support::probe::{Events, Probe, log};
use crate::support::running::{Client, Server, connect, serve};
use crate::support::wire::{BINARY, CONTINUATION, Frame, PING, PONG, TEXT};

pub(crate) fn server_with(config: WSServerConfig) -> (Server, Peer, Events) {
    let (log, events) = log();
    let server = serve(config, move |_| Probe::new(&log));
    let peer = Peer::connect(server.addr);
    events.connected();
    (server, peer, events)
}

fn client_with(config: WSConnectConfig) -> (Client, Peer) {
    let (log, _events) = log();
    let server = PeerServer::bind();
    let client = connect(&server.url("/"), config, Probe::new(&log));
    let peer = server.accept();
    client.opened().unwrap();
    (client, peer)
}

/// Sends in every way there is; the peer reads the frames that are returned.
fn send_in_all_ways(transport: &WSTransport) -> Vec<Frame> {
    let options = SendOptions { fin: false, rsv1: true, rsv2: false, rsv3: true };
    let mut sent = Vec::new();
    for len in [0, 5, 125, 126, 1000, 20_000, 70_000, 300_000] {
        let payload = pattern(len);
        let mut owned = WSBuffer::with_capacity(len);
        owned.extend_from_slice(&payload);
        let mut memory = [&[0; WS_HEADROOM + 3][..], &payload].concat();
        let statuses = [
            transport.send(WSMsgType::Binary, &payload),
            transport.send_buffer(WSMsgType::Text, owned),
            transport.send_binary(&payload),
            transport.send_text("a".repeat(len)),
            transport.send_with(WSMsgType::Text, &payload, WSMessageOptions::default()),
            transport.send_prepared(&WSPreparedMessage::new(WSMsgType::Text, &payload)),
            transport.send_prepared_frame(&WSPreparedFrame::new(WSMsgType::Continuation, &payload)),
            transport
                .send_reuse_external_buffer(WSMsgType::Binary, &mut memory, WS_HEADROOM + 3, options)
                .unwrap(),
            transport.send_frame(WSMsgType::Continuation, &payload, options),
        ];
        assert!(statuses.iter().all(|status| status.is_accepted()), "{statuses:?}");
        sent.extend([
            Frame::new(BINARY, &payload),
            Frame::new(TEXT, &payload),
            Frame::new(BINARY, &payload),
            Frame::new(TEXT, "a".repeat(len)),
            Frame::new(TEXT, &payload),
            Frame::new(TEXT, &payload),
            Frame::new(CONTINUATION, &payload),
            Frame::new(BINARY, &payload).bits(false, 5),
            Frame::new(CONTINUATION, &payload).bits(false, 5),
        ]);
    }
    transport.send_ping([1; 125]).unwrap();
    transport.send_pong("").unwrap();
    sent.extend([Frame::new(PING, [1; 125]), Frame::new(PONG, "")]);
    sent
}

#[test]
fn all_ways_of_sending_keep_order_and_content() {
    for strategy in [WSWriteStrategy::Cork, WSWriteStrategy::Immediate] {
        let tuning = WSTuning::default().write_strategy(strategy);
        let (server, mut peer, _events) = server_with(WSServerConfig::default().tuning(tuning.clone()));
        for frame in server.on.ask_transport(0, send_in_all_ways) {
            assert_eq!(peer.read_frame(), frame);
        }
        let (client, mut peer) = client_with(WSConnectConfig::default().tuning(tuning));
        for frame in client.on.ask_transport(0, send_in_all_ways) {
            assert_eq!(peer.read_frame(), frame);
        }
    }
}

#[test]
fn one_prepared_frame_for_many_connections() {
    let (log, events) = log();
    let server = serve(WSServerConfig::default(), move |_| Probe::new(&log));
    let mut peers: Vec<_> = (0..20).map(|_| Peer::connect(server.addr)).collect();
    for _ in &peers {
        events.connected();
    }
    for len in [10, 100_000] {
        let frame = WSPreparedFrame::new(WSMsgType::Binary, pattern(len));
        server.on.ask(move |_| {
            for transport in crate::support::running::opened() {
                assert!(transport.send_prepared_frame(&frame).is_accepted());
            }
        });
        for peer in &mut peers {
            assert_eq!(peer.read_frame(), Frame::binary(pattern(len)));
        }
    }
}

#[test]
fn arguments_out_of_range() {
    let (server, mut peer, _events) = server_with(WSServerConfig::default());
    server.on.ask_transport(0, |transport| {
        let mut memory = [0; 20];
        let mut reuse = |offset| {
            transport.send_reuse_external_buffer(WSMsgType::Text, &mut memory, offset, SendOptions::default())
        };
        assert!(matches!(reuse(0), Err(WSError::InvalidArgument(_))));
        assert!(matches!(reuse(13), Err(WSError::InvalidArgument(_))));
        assert!(matches!(reuse(21), Err(WSError::InvalidArgument(_))));
        assert!(matches!(reuse(usize::MAX), Err(WSError::InvalidArgument(_))));
        assert!(matches!(reuse(20), Ok(status) if status.is_accepted()), "an empty payload");
        assert!(matches!(reuse(14), Ok(status) if status.is_accepted()));
        assert!(matches!(transport.send_ping([0; 126]), Err(WSError::InvalidArgument(_))));
        assert!(matches!(transport.send_pong([0; 126]), Err(WSError::InvalidArgument(_))));
        let dropped = WSSendStatus::Dropped;
        assert_eq!(transport.send(WSMsgType::Close, ""), dropped(WSDropReason::IsClose));
        assert_eq!(transport.send(WSMsgType::Ping, [0; 126]), dropped(WSDropReason::InvalidControl));
        let options = SendOptions { fin: false, ..SendOptions::default() };
        assert_eq!(transport.send_frame(WSMsgType::Pong, "", options), dropped(WSDropReason::InvalidControl));
    });
    assert_eq!(peer.read_frame(), Frame::text(""));
    assert_eq!(peer.read_frame().payload.len(), 6);
    peer.send_and_sync(&[]);
}

#[test]
fn a_close_from_reused_memory_is_an_error() {
    let (server, _peer, _events) = server_with(WSServerConfig::default());
    let result = server.on.ask_transport(0, |transport| {
        let options = SendOptions::default();
        transport.send_reuse_external_buffer(WSMsgType::Close, &mut [0; 20], WS_HEADROOM, options)
    });
    assert!(matches!(result, Err(WSError::InvalidArgument(_))), "{result:?}");
}

/// What a dispatch sends is queued till its end; a flush, and sends outside of a dispatch, do not wait.
#[test]
fn sends_are_gathered_until_flushed() {
    let (server, mut peer, _events) = server_with(WSServerConfig::default());
    server.on.ask_transport(0, |transport| {
        assert_eq!(transport.send(WSMsgType::Text, "gathered"), WSSendStatus::Queued);
        assert_eq!(transport.buffered_amount(), 2 + 8);
        transport.flush();
        assert_eq!(transport.buffered_amount(), 0);
    });
    assert_eq!(peer.read_frame(), Frame::text("gathered"));
    let tuning = WSTuning::default().write_strategy(WSWriteStrategy::Immediate);
    let (server, mut peer, _events) = server_with(WSServerConfig::default().tuning(tuning));
    let status = server.on.ask_transport(0, |transport| transport.send(WSMsgType::Text, "at once"));
    assert_eq!(status, WSSendStatus::Sent);
    assert_eq!(peer.read_frame(), Frame::text("at once"));
}
