//! A client that comes back.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use crate::client::{WSConnectConfig, WSConnectError, ws_connect};
use crate::connection::{WSListener, WSTransport};
use crate::proto::WSDisconnectInfo;
use crate::runtime::{WSLoopHandle, random};

/// How long to wait before the next attempt: exponential back-off with full jitter.
///
/// The ceiling doubles with each attempt in a row. The wait is anywhere between nothing and the ceiling: clients that were cut off at
/// the same moment come back spread out, which a fixed wait, or one with a little jitter, does not achieve. Only a connection that
/// lasted resets the ceiling: a server that accepts and falls over is not to be met with a storm.
///
/// Pure: time and chance come in, so that it serves other loops too.
///
/// ```
/// use std::time::Duration;
/// use femtows::WSBackoff;
///
/// let mut backoff = WSBackoff::default().base(Duration::from_millis(100)).max(Duration::from_secs(1));
/// let ceilings: Vec<_> = (0..5).map(|_| backoff.next_wait(u64::MAX).as_millis()).collect();
/// assert_eq!(ceilings, [100, 200, 400, 800, 1000]);
/// backoff.lasted(Duration::from_secs(60));
/// assert_eq!(backoff.next_wait(u64::MAX).as_millis(), 100);
/// ```
#[derive(Clone, Debug)]
pub struct WSBackoff {
    base: Duration,
    max: Duration,
    stable_after: Duration,
    /// Waits given out since the last reset.
    attempts: u32,
}

impl Default for WSBackoff {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(500),
            max: Duration::from_secs(30),
            stable_after: Duration::from_secs(10),
            attempts: 0,
        }
    }
}

impl WSBackoff {
    /// Ceiling of the first wait. Default 500 ms.
    #[must_use]
    pub fn base(mut self, ceiling: Duration) -> Self {
        self.base = ceiling;
        self
    }

    /// Where the ceiling stops doubling. Default 30 s.
    #[must_use]
    pub fn max(mut self, ceiling: Duration) -> Self {
        self.max = ceiling;
        self
    }

    /// How long a connection has to last to count as a success. Default 10 s.
    #[must_use]
    pub fn stable_after(mut self, time: Duration) -> Self {
        self.stable_after = time;
        self
    }

    /// Waits given out since the last connection that lasted.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The wait before the next attempt. `chance` is any number, each equally likely.
    pub fn next_wait(&mut self, chance: u64) -> Duration {
        // 2^-32 of the base is nothing: beyond, the ceiling is the greatest in any case.
        let ceiling = self.base.saturating_mul(1 << self.attempts.min(31)).min(self.max);
        self.attempts = self.attempts.saturating_add(1);
        // At most 2^64 - 1 each, so that the product fits.
        let nanos = u128::from(u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX));
        let wait = (nanos * (u128::from(chance) + 1)) >> 64;
        Duration::from_nanos(wait as u64)
    }

    /// A connection was open for this long. Begins anew if that was long enough.
    pub fn lasted(&mut self, time: Duration) {
        if time >= self.stable_after {
            self.attempts = 0;
        }
    }
}

/// What a [`WSReconnect`] is about to do.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct WSRetry<'a> {
    /// How many attempts were made since the last connection that lasted; 1 at first.
    pub attempt: u32,
    /// How long it waits now.
    pub wait: Duration,
    /// Why the last attempt failed; `None` if a connection was open and is gone, or if an earlier
    /// call of [`next`](WSReconnect::next) returned its error or was abandoned.
    pub error: Option<&'a WSConnectError>,
    /// The record of the connection that is gone; `None` if there was none before this attempt.
    pub disconnected: Option<&'a WSDisconnectInfo>,
}

/// One line: the attempt, the wait and the reason.
impl fmt::Display for WSRetry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "attempt {} in {:?}", self.attempt, self.wait)?;
        match (self.error, self.disconnected) {
            (Some(error), _) => write!(f, ": {error}"),
            (None, Some(info)) => write!(f, ": {info}"),
            (None, None) => Ok(()),
        }
    }
}

type OnRetry = Box<dyn FnMut(WSRetry<'_>)>;

/// Connects, and connects again when the connection is gone.
///
/// ```no_run
/// use femtows::*;
///
/// # struct Ticker;
/// # impl WSListener for Ticker {
/// #     fn on_ws_frame(&mut self, _: &WSTransport, _: &mut WSFrame<'_>) -> WSResult { Ok(()) }
/// # }
/// # async fn demo(handle: WSLoopHandle) -> Result<(), WSError> {
/// let mut client = WSReconnect::new(&handle, "ws://127.0.0.1:9001/", WSConnectConfig::default());
/// loop {
///     let transport = client.next(|| Ticker).await?;
///     transport.send(WSMsgType::Text, "subscribe");
/// }
/// # }
/// ```
pub struct WSReconnect {
    handle: WSLoopHandle,
    url: String,
    config: WSConnectConfig,
    backoff: WSBackoff,
    /// The connection that [`next`](Self::next) returned last, and since when it is open.
    current: Option<(WSTransport, Instant)>,
    /// Whether the next attempt is the first of all, which waits for nothing.
    is_first: bool,
    on_retry: Option<OnRetry>,
}

impl WSReconnect {
    /// A client of `url`; nothing happens before [`next`](Self::next).
    pub fn new(handle: &WSLoopHandle, url: impl Into<String>, config: WSConnectConfig) -> Self {
        Self {
            handle: handle.clone(),
            url: url.into(),
            config,
            backoff: WSBackoff::default(),
            current: None,
            is_first: true,
            on_retry: None,
        }
    }

    /// How long to wait between attempts. Default [`WSBackoff::default`].
    #[must_use]
    pub fn backoff(mut self, backoff: WSBackoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Called before each wait. Default none.
    #[must_use]
    pub fn on_retry(mut self, f: impl FnMut(WSRetry<'_>) + 'static) -> Self {
        self.on_retry = Some(Box::new(f));
        self
    }

    /// The next connection: waits until the last one is gone, then as long as the back-off says, then connects; again until that
    /// succeeds. The first attempt of all is made at once. `make` makes the listener of each attempt.
    ///
    /// Call it again at once when it has returned, as what waits for the end of the connection also measures how long it lasted.
    /// Dropping the future abandons the attempt; the connection that was returned is the caller's to close.
    ///
    /// # Errors
    /// What no repetition cures: [`WSConnectError::Config`], and [`WSConnectError::Gone`] when the loop
    /// is gone.
    pub async fn next<L: WSListener + 'static>(
        &mut self,
        mut make: impl FnMut() -> L,
    ) -> Result<WSTransport, WSConnectError> {
        let connect = move |handle: &WSLoopHandle, url: &str, config: WSConnectConfig| {
            Box::pin(ws_connect(handle, make(), url, config)) as Connecting
        };
        self.next_with(connect).await
    }

    async fn next_with(
        &mut self,
        mut connect: impl FnMut(&WSLoopHandle, &str, WSConnectConfig) -> Connecting,
    ) -> Result<WSTransport, WSConnectError> {
        let mut disconnected = None;
        if let Some((transport, since)) = &self.current {
            // The error is in the record, too.
            let _ = transport.wait_disconnected().await;
            disconnected = transport.disconnect_info().cloned();
            self.backoff.lasted(self.handle.now().saturating_duration_since(*since));
            self.current = None;
        }
        let mut error = None;
        loop {
            if !std::mem::take(&mut self.is_first) {
                self.wait(error.as_ref(), disconnected.take()).await;
            }
            match connect(&self.handle, &self.url, self.config.clone()).await {
                Ok(transport) => {
                    self.current = Some((transport.clone(), self.handle.now()));
                    return Ok(transport);
                }
                Err(fatal) if fatal.is_final() => return Err(fatal),
                Err(failed) => error = Some(failed),
            }
        }
    }

    async fn wait(&mut self, error: Option<&WSConnectError>, disconnected: Option<WSDisconnectInfo>) {
        let chance = u64::from_ne_bytes(random(self.handle.core()));
        let wait = self.backoff.next_wait(chance);
        let attempt = self.backoff.attempts();
        if let Some(on_retry) = &mut self.on_retry {
            on_retry(WSRetry { attempt, wait, error, disconnected: disconnected.as_ref() });
        }
        self.handle.sleep(wait).await;
    }
}

type Connecting = Pin<Box<dyn Future<Output = Result<WSTransport, WSConnectError>>>>;

impl fmt::Debug for WSReconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WSReconnect")
            .field("backoff", &self.backoff)
            .field("current", &self.current)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::rc::Rc;

    use super::*;
    use crate::connection::{WSConfigError, WSResult};
    use crate::proto::WSFrame;
    use crate::server::{WSServerConfig, WSUpgradeRequest};
    use crate::testkit::{Pair, TestKit};

    const MS: Duration = Duration::from_millis(1);

    struct Quiet;

    impl WSListener for Quiet {
        fn on_ws_frame(&mut self, _: &WSTransport, _: &mut WSFrame<'_>) -> WSResult {
            Ok(())
        }
    }

    #[test]
    fn waits_are_spread_over_all_of_the_ceiling() {
        let mut backoff = WSBackoff::default();
        assert_eq!(backoff.next_wait(0), Duration::ZERO);
        assert_eq!(backoff.next_wait(1 << 63), 500 * MS, "half of the second ceiling");
        assert_eq!(backoff.next_wait(u64::MAX), 2000 * MS);
        for _ in 0..100 {
            assert!(backoff.next_wait(u64::MAX) <= Duration::from_secs(30));
        }
        assert_eq!(backoff.next_wait(u64::MAX), Duration::from_secs(30));
        let mut endless = WSBackoff::default().base(Duration::MAX).max(Duration::MAX);
        assert!(endless.next_wait(u64::MAX) > Duration::from_secs(1 << 32), "no overflow");
    }

    #[test]
    fn only_a_stable_connection_resets() {
        let mut backoff = WSBackoff::default().stable_after(1000 * MS);
        backoff.next_wait(0);
        backoff.next_wait(0);
        backoff.lasted(999 * MS);
        assert_eq!(backoff.next_wait(u64::MAX), 2000 * MS);
        backoff.lasted(1000 * MS);
        assert_eq!((backoff.attempts(), backoff.next_wait(u64::MAX)), (0, 500 * MS));
    }

    fn pair(kit: &mut TestKit) -> Pair {
        let factory = |_: &WSUpgradeRequest| Quiet;
        kit.pair(factory, Quiet, WSServerConfig::default(), WSConnectConfig::default()).expect("opens")
    }

    fn io_error() -> WSConnectError {
        WSConnectError::io("cannot connect", std::io::ErrorKind::ConnectionRefused.into())
    }

    /// Retries as they were told: attempt, wait, whether there was an error.
    type Retries = Rc<RefCell<Vec<(u32, Duration, bool)>>>;

    fn client(kit: &TestKit) -> (WSReconnect, Retries) {
        let retries = Retries::default();
        let told = Rc::clone(&retries);
        let client =
            WSReconnect::new(&kit.handle(), "ws://h/", WSConnectConfig::default()).on_retry(move |retry| {
                let line = retry.to_string();
                match (retry.error, retry.disconnected) {
                    (Some(error), None) => assert!(line.ends_with(&format!(": {error}")), "{line}"),
                    (None, Some(info)) => assert!(line.ends_with(&format!(": {info}")), "{line}"),
                    // The call before this one has returned the error.
                    (None, None) => assert!(line.starts_with("attempt "), "{line}"),
                    (Some(_), Some(_)) => panic!("one or the other: {retry:?}"),
                }
                told.borrow_mut().push((retry.attempt, retry.wait, retry.error.is_some()));
            });
        (client, retries)
    }

    #[test]
    fn attempts_wait_as_the_backoff_says() {
        let mut kit = TestKit::new(7);
        let Pair { client: transport, .. } = pair(&mut kit);
        let (mut client, retries) = client(&kit);
        let mut results =
            VecDeque::from([Err(io_error()), Err(io_error()), Err(io_error()), Ok(transport.clone())]);
        let (begin, times) = (kit.now(), Rc::new(RefCell::new(Vec::new())));
        let seen = Rc::clone(&times);
        let connect = move |handle: &WSLoopHandle, _: &str, _: WSConnectConfig| {
            seen.borrow_mut().push(handle.now() - begin);
            let result = results.pop_front().expect("no attempt after the success");
            Box::pin(async move { result }) as Connecting
        };
        let got = kit.block_on(client.next_with(connect)).expect("connects");
        assert_eq!(got, transport);
        let retries = retries.borrow();
        assert_eq!(
            retries.iter().map(|retry| (retry.0, retry.2)).collect::<Vec<_>>(),
            [(1, true), (2, true), (3, true)]
        );
        let mut wanted = vec![Duration::ZERO];
        for (retry, ceiling) in retries.iter().zip([500, 1000, 2000]) {
            assert!(retry.1 <= ceiling * MS);
            wanted.push(*wanted.last().expect("one at least") + retry.1);
        }
        assert_eq!(*times.borrow(), wanted, "each attempt exactly when its wait is over, the first at once");
    }

    #[test]
    fn a_connection_that_lasted_resets_and_another_does_not() {
        let mut kit = TestKit::new(8);
        let (mut client, retries) = client(&kit);
        // How long each connection lasts, in milliseconds; then the number of the attempt after it: one is made to get it.
        for (lasts, attempt_after) in [(0, 1), (9_999, 3), (10_000, 1), (1, 3)] {
            let Pair { client: transport, .. } = pair(&mut kit);
            let handed = transport.clone();
            let connect = move |_: &WSLoopHandle, _: &str, _: WSConnectConfig| {
                let transport = handed.clone();
                Box::pin(async move { Ok(transport) }) as Connecting
            };
            kit.block_on(client.next_with(connect)).expect("connects");
            let ends = transport.clone();
            kit.handle().call_later(lasts * MS, move || ends.abort()).detach();
            let failing = |_: &WSLoopHandle, _: &str, _: WSConnectConfig| {
                Box::pin(async { Err(WSConfigError::TlsUnsupported.into()) }) as Connecting
            };
            let fatal = kit.block_on(client.next_with(failing)).expect_err("given up");
            assert!(matches!(fatal, WSConnectError::Config(WSConfigError::TlsUnsupported)));
            let last = *retries.borrow().last().expect("a retry");
            assert_eq!((last.0, last.2), (attempt_after, false), "after {lasts} ms");
            retries.borrow_mut().clear();
        }
    }

    #[test]
    fn what_no_repetition_cures_ends_it() {
        let kit = &mut TestKit::new(9);
        let needs_tls = if cfg!(feature = "tls") { "ftp://h/" } else { "wss://h/" };
        for url in ["http://h/", needs_tls] {
            let mut client = WSReconnect::new(&kit.handle(), url, WSConnectConfig::default());
            let result = kit.block_on(client.next(|| Quiet));
            assert!(matches!(result, Err(WSConnectError::Config(_))), "{result:?}");
        }
    }
}
