//! Name look-up that does not block the loop.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::{io, thread};

use crate::WSError;

/// How many look-ups run at a time in this process; a name server that is dead would otherwise collect a thread for each connect.
const MAX_THREADS: usize = 16;

/// The addresses of a host, in the order of the system's resolver.
///
/// A literal address is answered at once; a name is looked up on a thread, of which there are 16 at most, and none while there
/// is nothing to look up. Dropping the future takes the look-up out of the queue; one that runs already ends unheard.
pub(crate) async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, WSError> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let failed = |error| WSError::Resolve { host: host.into(), source: Arc::new(error) };
    let answer = RESOLVER.ask(host, port).map_err(failed)?;
    let found = std::future::poll_fn(|cx| answer.poll(cx)).await.map_err(failed)?;
    if found.is_empty() {
        return Err(failed(io::Error::new(io::ErrorKind::NotFound, "the name has no address")));
    }
    Ok(found)
}

static RESOLVER: Resolver =
    Resolver::new(MAX_THREADS, |host, port| Ok((host, port).to_socket_addrs()?.collect()));

type LookUp = fn(&str, u16) -> io::Result<Vec<SocketAddr>>;

/// Look-ups that wait, and the threads that do them.
struct Resolver {
    state: Mutex<State>,
    max_threads: usize,
    look_up: LookUp,
}

/// Either nothing waits, or all threads are busy.
struct State {
    waiting: VecDeque<Question>,
    threads: usize,
}

struct Question {
    host: String,
    port: u16,
    /// Gone when nobody waits any more.
    answer: Weak<Answer>,
}

/// Where the thread puts what it found, for the task that waits.
#[derive(Default)]
struct Answer(Mutex<AnswerState>);

#[derive(Default)]
struct AnswerState {
    found: Option<io::Result<Vec<SocketAddr>>>,
    waker: Option<Waker>,
}

impl Resolver {
    const fn new(max_threads: usize, look_up: LookUp) -> Self {
        let state = State { waiting: VecDeque::new(), threads: 0 };
        Self { state: Mutex::new(state), max_threads, look_up }
    }

    fn ask(&'static self, host: &str, port: u16) -> io::Result<Arc<Answer>> {
        let answer = Arc::new(Answer::default());
        let mut state = self.lock();
        state.waiting.retain(|question| question.answer.strong_count() > 0);
        state.waiting.push_back(Question { host: host.to_owned(), port, answer: Arc::downgrade(&answer) });
        if state.threads < self.max_threads {
            let spawned = thread::Builder::new().name("femtows-resolve".into()).spawn(|| self.work());
            match spawned {
                Ok(_) => state.threads += 1,
                // Those that run will come to it.
                Err(_) if state.threads > 0 => {}
                Err(error) => {
                    state.waiting.pop_back();
                    return Err(error);
                }
            }
        }
        Ok(answer)
    }

    /// Answers questions until none waits.
    fn work(&self) {
        while let Some(question) = self.next() {
            // Nobody may have been waiting for some time.
            if question.answer.strong_count() == 0 {
                continue;
            }
            let found = (self.look_up)(&question.host, question.port);
            if let Some(answer) = question.answer.upgrade() {
                answer.give(found);
            }
        }
    }

    /// The next question; without one, the thread counts no more.
    fn next(&self) -> Option<Question> {
        let mut state = self.lock();
        let question = state.waiting.pop_front();
        if question.is_none() {
            state.threads -= 1;
        }
        question
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held, so the state is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answer {
    fn give(&self, found: io::Result<Vec<SocketAddr>>) {
        let waker = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.found = Some(found);
            state.waker.take()
        };
        // Not under the lock: whose waker it is may poll at once.
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<io::Result<Vec<SocketAddr>>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = state.found.take() {
            return Poll::Ready(found);
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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

    fn is_answered(answer: &Answer) -> bool {
        answer.0.lock().expect("not poisoned").found.is_some()
    }

    #[test]
    fn look_ups_are_bounded_and_those_that_wait_can_be_cancelled() {
        static OPEN: AtomicBool = AtomicBool::new(false);
        static RUNNING: AtomicUsize = AtomicUsize::new(0);
        static ASKED: Mutex<Vec<u16>> = Mutex::new(Vec::new());
        static SLOW: Resolver = Resolver::new(2, |_, port| {
            RUNNING.fetch_add(1, Ordering::SeqCst);
            ASKED.lock().expect("not poisoned").push(port);
            while !OPEN.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(1));
            }
            RUNNING.fetch_sub(1, Ordering::SeqCst);
            Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))])
        });
        let mut answers: Vec<_> = (1..=5).map(|port| SLOW.ask("h", port).expect("a thread")).collect();
        eventually("two look-ups run", || RUNNING.load(Ordering::SeqCst) == 2);
        assert_eq!(SLOW.lock().threads, 2);
        // Cancels the third look-up, and the next question sweeps it out.
        drop(answers.remove(2));
        assert_eq!(SLOW.lock().waiting.len(), 3);
        answers.push(SLOW.ask("h", 6).expect("a place in the queue"));
        assert_eq!(SLOW.lock().waiting.len(), 3);
        OPEN.store(true, Ordering::SeqCst);
        eventually("all are answered", || answers.iter().all(|answer| is_answered(answer)));
        eventually("no thread is left", || SLOW.lock().threads == 0);
        let mut asked = ASKED.lock().expect("not poisoned").clone();
        asked.sort_unstable();
        assert_eq!(asked, [1, 2, 4, 5, 6]);
    }
}
