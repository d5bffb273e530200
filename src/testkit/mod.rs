//! A deterministic test kit: the real loop, connections in memory, a virtual clock.
//!
//! [`TestKit`] owns an event loop whose sockets are simulated and whose time passes only when the test says so. All else is the
//! code of production: both opening handshakes, the protocol, the buffers, timers, tasks, listeners and transports. What the kernel
//! would do is up to the test, through a [`SimLink`] per connection: how much a write takes, how much a read gives, how long bytes
//! travel, when a direction stalls, ends or breaks. Readiness is reported as epoll does it in edge-triggered mode.
//!
//! All that is left to chance comes from one seed, so a schedule that failed once fails again.
//!
//! ```
//! use std::time::Duration;
//! use femtows::testkit::{Peer, TestKit};
//! use femtows::*;
//!
//! struct Echo;
//!
//! impl WSMessageListener for Echo {
//!     fn on_ws_message(&mut self, transport: &WSTransport, message: WSMessage<'_>) -> WSResult {
//!         transport.send(message.msg_type(), message);
//!         Ok(())
//!     }
//! }
//!
//! let mut kit = TestKit::new(1);
//! let factory = |_: &WSUpgradeRequest| WSMessageAdapter::new(Echo);
//! let mut peer = kit.raw_server(factory, WSServerConfig::default());
//! peer.upgrade(&mut kit);
//! peer.link().to_server().max_read(1).delay(Duration::from_millis(20));
//! peer.send_frame(WSMsgType::Text, b"slow, and byte by byte");
//! kit.advance(Duration::from_millis(20));
//! assert_eq!(peer.frames()[0].payload, b"slow, and byte by byte");
//! # let _: &Peer = &peer;
//! ```
//!
//! | to | use |
//! |---|---|
//! | connect a client and a server | [`TestKit::pair`], [`TestKit::opening`] |
//! | speak to one end byte by byte | [`TestKit::raw_server`], [`TestKit::raw_client`], [`Peer`] |
//! | have several connections at one server | [`TestKit::server`], [`TestKit::connect_to`] |
//! | disturb | [`SimLink`], [`LinkDirection`] |
//! | let time pass | [`TestKit::advance`], [`TestKit::run_until_idle`], [`TestKit::block_on`] |
//! | see that nothing leaks | [`TestKit::leftovers`] |

mod kit;
mod link;
mod opening;
mod peer;
mod pipe;
mod random;
mod wire;

pub use kit::TestKit;
pub use link::{LinkDirection, SimLink};
pub use opening::{Opening, Pair};
pub use peer::{Peer, PeerFrame};
pub use random::Random;
