//! The sockets. A peer costs little, and no peer keeps another one out.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::config::{self, Bind};
use crate::net::{self, Accepted, Backoff, Bound, Listeners};
use crate::proxy::Service;
use crate::telemetry::LogLosses;

use super::desk::{Desk, Reload};
use super::guard::{Guard, Scope};

/// The addresses of `[admin]`, bound and not served yet.
#[derive(Debug)]
pub struct Admin(Vec<(Bound, Bind, Guard)>);

/// The same, at work. When it is dropped, they are closed.
#[derive(Debug)]
pub struct Serving(Vec<JoinHandle<()>>);

/// Connections at once on one address. A scraper, a load balancer and a kubelet have one each. Who
/// comes on top of it takes the place of the one that is here the longest: an answer takes
/// milliseconds, so that one is slow, or has asked for nothing.
const MOST: usize = 32;

/// From accept to the end of the request's head. It is one packet.
const HEAD: Duration = Duration::from_secs(5);

/// And to the end of the answer: a reload of thousands of users takes a second, and Prometheus gives
/// a scrape ten.
const WHOLE: Duration = Duration::from_secs(30);

/// A request's head: a token of 8 KB, and some room.
const MOST_HEAD: usize = 16 * 1024;

// === impl Admin ===

impl Admin {
    /// Binds what the configuration names.
    ///
    /// # Errors
    /// All addresses that can't be bound.
    pub fn bind(settings: &config::Admin) -> Result<Self, Vec<String>> {
        let mut bound = Vec::new();
        let mut errors = Vec::new();
        let addresses = [
            ("bind", &settings.bind, Scope::Everything),
            ("probe", &settings.probe, Scope::Health),
        ];
        for (key, address, scope) in addresses {
            let Some(address) = address else {
                continue;
            };
            match net::bind(address) {
                Ok(listener) => {
                    let guard = Guard::new(scope, address, settings.token_file.clone());
                    bound.push((listener, address.clone(), guard));
                }
                Err(error) => errors.push(format!("admin.{key} = \"{address}\": {error}")),
            }
        }
        match errors.is_empty() {
            true => Ok(Self(bound)),
            false => Err(errors),
        }
    }

    /// The files of its unix sockets.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().filter_map(|(bound, ..)| bound.file())
    }

    /// Answers. `reload` is how a reload is done.
    ///
    /// # Errors
    /// The runtime can't watch a socket.
    pub fn serve(
        self,
        service: &Arc<Service>,
        losses: &LogLosses,
        reload: Reload,
    ) -> io::Result<Serving> {
        let mut tasks = Vec::new();
        for (bound, address, guard) in self.0 {
            let listener = bound.listen()?;
            tracing::info!(bind = %address, paths = guard.scope.paths(), "admin serves");
            let desk = Desk::new(Arc::clone(service), losses.clone(), guard, reload);
            let accepting = accept_all(Arc::new(desk), Listeners::new(vec![listener]));
            tasks.push(tokio::spawn(accepting));
        }
        Ok(Serving(tasks))
    }
}

// === impl Serving ===

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// Accepts until it is aborted. No error ends it.
async fn accept_all(desk: Arc<Desk>, mut listeners: Listeners) {
    let mut served: VecDeque<JoinHandle<()>> = VecDeque::new();
    let mut backoff = Backoff::default();
    loop {
        let socket = match listeners.accept().await {
            Ok(socket) => socket,
            Err(error) => {
                let wait = backoff.fail();
                tracing::warn!(%error, ?wait, "admin: accept failed");
                sleep(wait).await;
                continue;
            }
        };
        backoff.succeed();
        served.retain(|one| !one.is_finished());
        if served.len() >= MOST
            && let Some(oldest) = served.pop_front()
        {
            tracing::debug!("admin: the oldest connection makes room for a new one");
            oldest.abort();
        }
        served.push_back(tokio::spawn(serve(Arc::clone(&desk), socket)));
    }
}

/// One request and its answer.
async fn serve(desk: Arc<Desk>, socket: Accepted) {
    let peer = socket
        .peer()
        .map_or_else(|| "unix".to_owned(), |peer| peer.to_string());
    let stream = match socket.into_stream() {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(peer, %error, "admin: gone before it was served");
            return;
        }
    };
    let answering = service_fn(|request| {
        let desk = Arc::clone(&desk);
        async move { Ok::<_, Infallible>(desk.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        // One who keeps his connection would keep his place.
        .keep_alive(false)
        .max_buf_size(MOST_HEAD)
        .serve_connection(TokioIo::new(stream), answering);
    // A health check that only connects, or a browser that was stopped: none of it is our trouble.
    match timeout(WHOLE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(peer, %error, "admin: no request was answered"),
        Err(_) => tracing::debug!(peer, "admin: too slow"),
    }
}
