//! Lookups by the system's resolver, which blocks, on threads of their own.

use std::collections::VecDeque;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::{io, thread};

/// Most lookups at a time whose callers wait. Without a bound a dead name server would collect a
/// thread for each connect.
const MAX_AWAITED: usize = 16;

/// Most lookups at a time in all. A lookup whose caller has gone cannot be ended and keeps its
/// thread, but must not keep others from starting.
const MAX_THREADS: usize = 64;

/// Most lookups at a time for names reached by redirection, those whose callers have gone included:
/// a server chooses these names, and may choose ones that hang.
const MAX_REDIRECTED: usize = 4;

/// The lookups of this process.
pub(super) static LOOKUPS: Lookups = Lookups::new(|host, port| Ok((host, port).to_socket_addrs()?.collect()));

type LookUp = fn(&str, u16) -> io::Result<Vec<SocketAddr>>;

/// Lookups that wait, and the threads that do them. There is no thread while there is nothing to
/// look up.
pub(super) struct Lookups {
    state: Mutex<State>,
    look_up: LookUp,
}

struct State {
    /// In the order of arrival.
    waiting: VecDeque<Question>,
    /// One for each thread.
    running: Vec<Question>,
}

#[derive(Clone)]
struct Question {
    host: Arc<str>,
    port: u16,
    redirected: bool,
    answer: Arc<Answer>,
}

/// Where a thread puts what it found, for the task that waits.
#[derive(Default)]
struct Answer {
    state: Mutex<AnswerState>,
    abandoned: AtomicBool,
}

#[derive(Default)]
struct AnswerState {
    found: Option<io::Result<Vec<SocketAddr>>>,
    waker: Option<Waker>,
}

/// A caller's interest in an answer. Dropping it abandons the lookup: a waiting one leaves the
/// queue, a running one no longer counts as awaited.
struct Asked {
    lookups: &'static Lookups,
    answer: Arc<Answer>,
}

impl Lookups {
    const fn new(look_up: LookUp) -> Self {
        let state = State { waiting: VecDeque::new(), running: Vec::new() };
        Self { state: Mutex::new(state), look_up }
    }

    /// Looks `host` up. `redirected`: a server has chosen the name.
    ///
    /// # Errors
    /// The system's, of the resolver or of starting a thread.
    pub(super) async fn look_up(
        &'static self,
        host: &str,
        port: u16,
        redirected: bool,
    ) -> io::Result<Vec<SocketAddr>> {
        let asked = self.ask(host, port, redirected);
        std::future::poll_fn(|cx| asked.answer.poll(cx)).await
    }

    fn ask(&'static self, host: &str, port: u16, redirected: bool) -> Asked {
        let answer = Arc::<Answer>::default();
        let question = Question { host: host.into(), port, redirected, answer: Arc::clone(&answer) };
        self.lock().waiting.push_back(question);
        self.start();
        Asked { lookups: self, answer }
    }

    /// Starts threads for the questions that the bounds let run.
    fn start(&'static self) {
        loop {
            let Some(question) = self.lock().take() else { return };
            let job = question.clone();
            let spawned = thread::Builder::new().name("femtows-resolve".into()).spawn(move || self.work(job));
            if let Err(error) = spawned {
                return self.not_started(question, error);
            }
        }
    }

    fn not_started(&self, question: Question, error: io::Error) {
        let mut state = self.lock();
        state.forget(&question);
        if state.running.is_empty() {
            drop(state);
            question.answer.give(Err(error));
        } else {
            // The threads that run will come to it.
            state.waiting.push_front(question);
        }
    }

    /// Answers questions until the bounds let none run.
    fn work(&self, mut question: Question) {
        loop {
            let found = (self.look_up)(&question.host, question.port);
            // Before the answer, which may bring the next question.
            let next = {
                let mut state = self.lock();
                state.forget(&question);
                state.take()
            };
            question.answer.give(found);
            match next {
                Some(next) => question = next,
                None => return,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held, so the state is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Moves the first question that the bounds let run from those that wait to those that run.
    fn take(&mut self) -> Option<Question> {
        self.waiting.retain(Question::is_awaited);
        let awaited = self.running.iter().filter(|question| question.is_awaited()).count();
        if awaited >= MAX_AWAITED || self.running.len() >= MAX_THREADS {
            return None;
        }
        // In the order of arrival, except that redirections beyond their bound are passed over: so
        // other names cannot starve them, nor they those.
        let redirected = self.running.iter().filter(|question| question.redirected).count();
        let may_run = |question: &Question| !question.redirected || redirected < MAX_REDIRECTED;
        let at = self.waiting.iter().position(may_run)?;
        let question = self.waiting.remove(at)?;
        self.running.push(question.clone());
        Some(question)
    }

    /// Removes a question from those that run.
    fn forget(&mut self, question: &Question) {
        self.running.retain(|running| !Arc::ptr_eq(&running.answer, &question.answer));
    }
}

impl Question {
    fn is_awaited(&self) -> bool {
        !self.answer.abandoned.load(Ordering::Relaxed)
    }
}

impl Answer {
    fn give(&self, found: io::Result<Vec<SocketAddr>>) {
        let waker = {
            let mut state = self.lock();
            state.found = Some(found);
            state.waker.take()
        };
        // Not under the lock: whose waker it is may poll at once.
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<io::Result<Vec<SocketAddr>>> {
        let mut state = self.lock();
        if let Some(found) = state.found.take() {
            return Poll::Ready(found);
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, AnswerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.answer.abandoned.store(true, Ordering::Relaxed);
        // A lookup that hangs must not keep the caller's task alive. Dropped without the lock,
        // since dropping a waker may run other code.
        let waker = self.answer.lock().waker.take();
        drop(waker);
        // Its place may be what another question waits for.
        self.lookups.start();
    }
}

/// Runs `work` while hanging lookups take up the bound on those for redirections.
#[cfg(test)]
pub(crate) fn with_redirections_hanging<R>(work: impl FnOnce() -> R) -> R {
    let question = || Question { host: "hangs".into(), port: 1, redirected: true, answer: Arc::default() };
    LOOKUPS.lock().running.extend(std::iter::repeat_with(question).take(MAX_REDIRECTED));
    let result = work();
    LOOKUPS.lock().running.retain(|running| &*running.host != "hangs");
    result
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition() {
            assert!(Instant::now() < deadline, "never came true: {what}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    impl Asked {
        fn is_answered(&self) -> bool {
            self.answer.lock().found.is_some()
        }
    }

    impl Lookups {
        /// How many lookups run, and how many wait.
        fn counts(&self) -> (usize, usize) {
            let state = self.lock();
            (state.running.len(), state.waiting.len())
        }

        fn ask_all(&'static self, ports: std::ops::Range<u16>, redirected: bool) -> Vec<Asked> {
            ports.map(|port| self.ask("name", port, redirected)).collect()
        }
    }

    /// Declares lookups that hang for ports below 1000, until `$open` is set, and note each port in
    /// `$begun`.
    macro_rules! hanging {
        ($lookups:ident, $open:ident, $begun:ident) => {
            static $open: AtomicBool = AtomicBool::new(false);
            static $begun: Mutex<Vec<u16>> = Mutex::new(Vec::new());
            static $lookups: Lookups = Lookups::new(|_, port| {
                $begun.lock().expect("not poisoned").push(port);
                while port < 1000 && !$open.load(Ordering::SeqCst) {
                    thread::sleep(Duration::from_millis(1));
                }
                Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))])
            });
        };
    }

    #[test]
    fn lookups_are_bounded_and_those_that_wait_can_be_cancelled() {
        hanging!(SLOW, OPEN, BEGUN);
        let mut asked = SLOW.ask_all(1..20, false);
        assert_eq!(SLOW.counts(), (16, 3));
        // Cancels the 18th, which leaves the queue at once.
        drop(asked.remove(17));
        assert_eq!(SLOW.counts(), (16, 2));
        OPEN.store(true, Ordering::SeqCst);
        eventually("all are answered", || asked.iter().all(Asked::is_answered));
        eventually("no thread is left", || SLOW.counts() == (0, 0));
        let mut begun = BEGUN.lock().expect("not poisoned").clone();
        begun.sort_unstable();
        assert_eq!(begun, (1..20).filter(|&port| port != 18).collect::<Vec<_>>());
    }

    #[test]
    fn lookups_whose_callers_have_gone_do_not_keep_the_next_from_running() {
        hanging!(HANGING, OPEN, BEGUN);
        drop(HANGING.ask_all(1..17, false));
        let next = HANGING.ask("name", 1000, false);
        eventually("the 17th is answered", || next.is_answered());
        OPEN.store(true, Ordering::SeqCst);
        assert!(BEGUN.lock().expect("not poisoned").contains(&1000));
    }

    #[test]
    fn a_waiting_lookup_starts_when_the_caller_of_a_hanging_one_goes() {
        hanging!(HANGING, OPEN, BEGUN);
        let mut hanging = HANGING.ask_all(1..17, false);
        let next = HANGING.ask("name", 1000, false);
        assert_eq!(HANGING.counts(), (16, 1));
        drop(hanging.pop());
        eventually("the 17th is answered", || next.is_answered());
        OPEN.store(true, Ordering::SeqCst);
        assert!(BEGUN.lock().expect("not poisoned").contains(&1000));
    }

    #[test]
    fn no_more_than_64_lookups_run_whoever_has_gone() {
        hanging!(HANGING, OPEN, BEGUN);
        for round in 0..5 {
            drop(HANGING.ask_all(round * 16..round * 16 + 16, false));
        }
        let next = HANGING.ask("name", 1000, false);
        assert_eq!(HANGING.counts(), (64, 1));
        OPEN.store(true, Ordering::SeqCst);
        eventually("it is answered when a thread is free", || next.is_answered());
        eventually("each has run", || BEGUN.lock().expect("not poisoned").len() == 65);
    }

    #[test]
    fn no_more_than_4_lookups_run_for_redirections() {
        hanging!(HANGING, OPEN, BEGUN);
        let redirected = HANGING.ask_all(1..9, true);
        assert_eq!(HANGING.counts(), (4, 4));
        OPEN.store(true, Ordering::SeqCst);
        eventually("all are answered", || redirected.iter().all(Asked::is_answered));
        assert_eq!(BEGUN.lock().expect("not poisoned").len(), 8);
    }

    #[test]
    fn redirections_that_were_given_up_keep_no_more_than_4_threads() {
        hanging!(HANGING, OPEN, BEGUN);
        for round in 0..4 {
            drop(HANGING.ask_all(round * 4..round * 4 + 4, true));
        }
        assert_eq!(HANGING.counts(), (4, 0));
        OPEN.store(true, Ordering::SeqCst);
        assert!(BEGUN.lock().expect("not poisoned").len() <= 4);
    }

    #[test]
    fn redirections_that_wait_do_not_hold_up_other_names() {
        hanging!(HANGING, OPEN, BEGUN);
        let _redirected = HANGING.ask_all(1..100, true);
        let other = HANGING.ask("name", 1000, false);
        eventually("it is answered", || other.is_answered());
        OPEN.store(true, Ordering::SeqCst);
        assert!(BEGUN.lock().expect("not poisoned").contains(&1000));
    }

    #[test]
    fn other_names_that_wait_do_not_pass_a_redirection() {
        hanging!(HANGING, OPEN, BEGUN);
        let mut hanging = HANGING.ask_all(1..17, false);
        let redirected = HANGING.ask("name", 1000, true);
        let _others = HANGING.ask_all(1001..1100, false);
        assert_eq!(HANGING.counts(), (16, 100));
        drop(hanging.pop());
        eventually("it is answered", || redirected.is_answered());
        OPEN.store(true, Ordering::SeqCst);
        let begun = BEGUN.lock().expect("not poisoned").clone();
        assert_eq!(begun.iter().find(|&&port| port >= 1000), Some(&1000), "the first that waited");
    }
}
