//! Random schedules: tasks that send, receive and give up, against a model that only counts.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use femtows::message::*;
use femtows::testkit::{Random, TestKit};
use femtows::{WSConnectConfig, WSLoopHandle, WSTuning};

use crate::ends::*;
use crate::polls::{Dropped, until};

const SCHEDULES: u64 = 3000;
const MESSAGES: usize = 12;

/// What must come of it all.
#[derive(Default)]
struct Model {
    /// Messages whose `send` succeeded, in that order.
    sent: RefCell<Vec<String>>,
    received: RefCell<Vec<String>>,
    given_up: Cell<usize>,
}

type Dice = Rc<RefCell<Random>>;

fn below(dice: &Dice, bound: usize) -> usize {
    dice.borrow_mut().below(bound)
}

/// When the next future is dropped: mostly never.
fn fate(dice: &Dice) -> Dropped {
    match below(dice, 4) {
        0 => Dropped::After(below(dice, 3)),
        1 => Dropped::WokenAfter(below(dice, 3)),
        _ => Dropped::After(usize::MAX),
    }
}

async fn send_all(ws: WebSocket, name: usize, dice: Dice, model: Rc<Model>, handle: WSLoopHandle) {
    for number in 0..MESSAGES {
        let text = format!("{name}.{number} {}", "x".repeat(below(&dice, 50)));
        loop {
            let sending = async {
                let result = ws.send_text(&text).await;
                if result.is_ok() {
                    model.sent.borrow_mut().push(text.clone());
                }
                result
            };
            match until(fate(&dice), sending).await {
                Some(Ok(())) => break,
                Some(Err(error)) => return assert!(error.is_closed(), "{error}"),
                None => model.given_up.set(model.given_up.get() + 1),
            }
        }
        if below(&dice, 3) == 0 {
            handle.sleep(Duration::from_millis(below(&dice, 20) as u64)).await;
        }
    }
}

async fn receive_all(ws: WebSocket, dice: Dice, model: Rc<Model>, handle: WSLoopHandle) -> u16 {
    loop {
        match until(fate(&dice), ws.get_message()).await {
            Some(Ok(message)) => model.received.borrow_mut().push(message.into_text()),
            Some(Err(WebSocketError::Closed(closed))) => return closed.reason.code.0,
            Some(Err(error)) => panic!("{error}"),
            None => model.given_up.set(model.given_up.get() + 1),
        }
        if below(&dice, 3) == 0 {
            handle.sleep(Duration::from_millis(below(&dice, 20) as u64)).await;
        }
    }
}

/// Whether `part` comes in `whole` in this order.
fn is_subsequence(part: &[String], whole: &[String]) -> bool {
    let mut rest = whole.iter();
    part.iter().all(|wanted| rest.any(|found| found == wanted))
}

fn run(seed: u64) -> usize {
    let mut kit = TestKit::new(seed);
    let dice: Dice = Rc::new(RefCell::new(Random::new(seed)));
    let queue = dice.borrow_mut().pick(&[0, 1, 2, 16]);
    let low = below(&dice, 50);
    let tuning = WSTuning::default().write_watermarks(low, low + below(&dice, 100));
    let client = WebSocketConfig::default().client(WSConnectConfig::default().tuning(tuning));
    let ends = pair_with(&mut kit, WebSocketConfig::default().message_queue_size(queue), client);
    ends.link.to_server().capacity(1 + below(&dice, 100)).max_read(1 + below(&dice, 100));
    if below(&dice, 2) == 0 {
        ends.link.to_server().delay(Duration::from_millis(1));
    }
    kit.spurious_events(below(&dice, 30));

    let model = Rc::new(Model::default());
    let (senders, receivers) = (1 + below(&dice, 4), 1 + below(&dice, 4));
    let handle = kit.handle();
    let receivers: Vec<_> = (0..receivers)
        .map(|_| {
            let (dice, model) = (Rc::clone(&dice), Rc::clone(&model));
            handle.spawn(receive_all(ends.server.clone(), dice, model, handle.clone()))
        })
        .collect();
    let senders: Vec<_> = (0..senders)
        .map(|name| {
            let (dice, model) = (Rc::clone(&dice), Rc::clone(&model));
            handle.spawn(send_all(ends.client.clone(), name, dice, model, handle.clone()))
        })
        .collect();

    let count = senders.len() * MESSAGES;
    let end = below(&dice, 5);
    match end {
        0 => {
            kit.advance(Duration::from_millis(below(&dice, 100) as u64));
            ends.link.reset();
        }
        1 => {
            kit.advance(Duration::from_millis(below(&dice, 100) as u64));
            ends.server.close(4000, "enough").expect("open");
        }
        _ => {
            for sender in senders {
                kit.block_on(sender);
            }
            kit.block_on(ends.client.aclose(4000, "done")).expect("the peer answers");
        }
    }
    let expected_code = if end == 0 { 1006 } else { 4000 };
    let alone = receivers.len() == 1;
    for receiver in receivers {
        assert_eq!(kit.block_on(receiver), expected_code, "seed {seed}");
    }
    let (sent, received) = (model.sent.take(), model.received.take());
    let (mut sorted_sent, mut sorted) = (sent.clone(), received.clone());
    sorted_sent.sort_unstable();
    sorted.sort_unstable();
    assert!(is_subsequence(&sorted, &sorted_sent), "seed {seed}: received what was not sent, or twice");
    assert!(!alone || sent.starts_with(&received), "seed {seed}: one receiver, out of order");
    if end > 1 {
        assert_eq!((sent.len(), received.len()), (count, count), "seed {seed}: lost");
    }
    drop(ends);
    kit.advance(130 * SECOND);
    assert_eq!(kit.leftovers(), [""; 0], "seed {seed}");
    model.given_up.get()
}

#[test]
fn whoever_gives_up_every_message_arrives_once() {
    let given_up: usize = (0..SCHEDULES).map(run).sum();
    assert!(given_up > SCHEDULES as usize, "the schedules met what they are for: {given_up}");
}
