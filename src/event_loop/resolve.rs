//! Name look-up that does not block the loop.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::{io, thread};

use crate::WSError;

/// The addresses of a host, in the order of the system's resolver.
///
/// A literal address is answered at once; a name is looked up on a thread of its own, which ends with the look-up. A look-up that nobody
/// waits for any more runs to its end unheard.
pub(crate) async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, WSError> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let failed = |error| WSError::Resolve { host: host.into(), source: Arc::new(error) };
    let answer = Arc::new(Mutex::new(Answer::default()));
    let (name, answers) = (host.to_owned(), Arc::clone(&answer));
    thread::Builder::new()
        .name("femtows-resolve".into())
        .spawn(move || {
            let found = (name.as_str(), port).to_socket_addrs().map(Iterator::collect);
            let waker = {
                let mut answer = answers.lock().unwrap_or_else(PoisonError::into_inner);
                answer.found = Some(found);
                answer.waker.take()
            };
            // Not under the lock: whose waker it is may poll at once.
            if let Some(waker) = waker {
                waker.wake();
            }
        })
        .map_err(failed)?;
    let found = std::future::poll_fn(|cx| {
        let mut answer = answer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = answer.found.take() {
            return Poll::Ready(found);
        }
        answer.waker = Some(cx.waker().clone());
        Poll::Pending
    });
    found.await.map_err(failed)
}

#[derive(Default)]
struct Answer {
    found: Option<io::Result<Vec<SocketAddr>>>,
    waker: Option<Waker>,
}
