//! From a request to its answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use crate::proxy::{Cause, RefusalLog, Reloaded, Service};
use crate::telemetry::LogLosses;
use crate::telemetry::metrics::{self, Family, Kind, expose};

use super::guard::{Guard, HEALTH, Refused, Scope};

/// Answers what comes in at one address.
#[derive(Debug)]
pub(super) struct Desk {
    service: Arc<Service>,
    losses: LogLosses,
    guard: Arc<Guard>,
    /// Its own: who asks here for nothing keeps no refused connection out of the log.
    refusals: RefusalLog,
    reload: Reload,
}

/// How a reload is done, where others want to hear of it too.
pub type Reload = fn(&Service, Cause) -> Result<Reloaded, Vec<String>>;

/// A worker that wasn't seen for so long is stuck. An ACL LOAD of very many users may take a second.
const STUCK: Duration = Duration::from_secs(5);

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// An answer, before it is HTTP.
struct Answer {
    status: StatusCode,
    content_type: &'static str,
    body: String,
}

// === impl Desk ===

impl Desk {
    pub(super) fn new(
        service: Arc<Service>,
        losses: LogLosses,
        guard: Guard,
        reload: Reload,
    ) -> Self {
        Self {
            service,
            losses,
            guard: Arc::new(guard),
            refusals: RefusalLog::default(),
            reload,
        }
    }

    /// A body that came with the request is not read: nothing here needs one.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<String> {
        let (parts, _body) = request.into_parts();
        let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
        let guard = Arc::clone(&self.guard);
        // It may read a file.
        let admitted = spawn_blocking(move || guard.admit(&parts)).await;
        match admitted {
            Ok(Ok(())) => {}
            Ok(Err(Refused(status, reason))) => {
                if let Some(suppressed) = self.refusals.ask(Instant::now()) {
                    let path = shown(&path);
                    tracing::info!(%method, path, reason, suppressed, "admin: refused");
                }
                return Answer::text(status, reason).into_response();
            }
            Err(_) => return broken().into_response(),
        }
        let Some(allowed) = self.methods(&path) else {
            return Answer::text(StatusCode::NOT_FOUND, "there is nothing here").into_response();
        };
        if !allowed.split(", ").any(|one| one == method.as_str()) {
            let status = StatusCode::METHOD_NOT_ALLOWED;
            let mut response = Answer::text(status, "not by this method").into_response();
            let headers = response.headers_mut();
            headers.insert(ALLOW, HeaderValue::from_static(allowed));
            return response;
        }
        self.answer_path(&path).await.into_response()
    }

    /// The methods of a path; `None`: there is no such path here.
    fn methods(&self, path: &str) -> Option<&'static str> {
        const READ: &str = "GET, HEAD";
        match path {
            _ if HEALTH.contains(&path) => Some(READ),
            _ if self.guard.scope == Scope::Health => None,
            "/metrics" | "/status" => Some(READ),
            "/reload" => Some("POST"),
            _ => None,
        }
    }

    async fn answer_path(&self, path: &str) -> Answer {
        match path {
            "/healthz" => self.live(),
            "/readyz" => self.ready(),
            "/metrics" => self.metrics().await,
            "/status" => Answer::json(StatusCode::OK, &json!(self.service.status())),
            _ => self.reload().await,
        }
    }

    /// Whether the process does what it is there for: if not, a restart would help.
    fn live(&self) -> Answer {
        match self.service.workers_alive(STUCK) {
            true => Answer::text(StatusCode::OK, "ok"),
            false => Answer::text(StatusCode::SERVICE_UNAVAILABLE, "a worker doesn't respond"),
        }
    }

    /// Whether clients that come now are served.
    fn ready(&self) -> Answer {
        match &*self.service.unready() {
            [] => Answer::text(StatusCode::OK, "ready"),
            reasons => Answer::text(StatusCode::SERVICE_UNAVAILABLE, &reasons.join("\n")),
        }
    }

    async fn metrics(&self) -> Answer {
        let service = Arc::clone(&self.service);
        let lost = self.losses.count();
        let exposed = spawn_blocking(move || {
            let mut families = service.metrics();
            families.push(
                Family::new(
                    "respgate_log_dropped_lines",
                    Kind::Counter,
                    "Lines of the log that are lost: nobody took them in time.",
                )
                .count(lost),
            );
            expose(families)
        });
        match exposed.await {
            Ok(Ok(body)) => Answer {
                status: StatusCode::OK,
                content_type: metrics::CONTENT_TYPE,
                body,
            },
            _ => broken(),
        }
    }

    async fn reload(&self) -> Answer {
        let (service, how) = (Arc::clone(&self.service), self.reload);
        match spawn_blocking(move || reload(&service, how)).await {
            Ok(Ok(done)) => Answer::json(StatusCode::OK, &done),
            Ok(Err(problems)) => {
                let told = json!({ "reloaded": false, "problems": problems });
                Answer::json(StatusCode::CONFLICT, &told)
            }
            Err(_) => broken(),
        }
    }
}

/// One reload, and what it has done; or all that is wrong. Reads files.
fn reload(service: &Service, how: Reload) -> Result<Value, Vec<String>> {
    tracing::info!("admin: a reload is asked for");
    let reloaded = how(service, Cause::Admin)?;
    let rules = service.keeper().snapshot();
    Ok(json!({
        "reloaded": true,
        "unchanged": reloaded.unchanged,
        "changed": reloaded.changed,
        "dropped": reloaded.dropped,
        "needs_restart": reloaded.stays,
        "generation": rules.generation(),
        "policy": rules.policy().content_hash(),
    }))
}

/// A thread of ours has panicked, which its hook has told.
fn broken() -> Answer {
    Answer::text(StatusCode::INTERNAL_SERVER_ERROR, "it went wrong here")
}

/// A path of a stranger's, as it is logged.
fn shown(path: &str) -> &str {
    const MOST: usize = 64;
    // Not in the middle of a letter: HTTP takes any byte above 127.
    let end = (0..=MOST).rev().find(|end| path.is_char_boundary(*end));
    match path.len() {
        0..=MOST => path,
        _ => &path[..end.unwrap_or_default()],
    }
}

// === impl Answer ===

impl Answer {
    fn text(status: StatusCode, text: &str) -> Self {
        Self {
            status,
            content_type: TEXT,
            body: format!("{text}\n"),
        }
    }

    fn json(status: StatusCode, value: &Value) -> Self {
        Self {
            status,
            content_type: JSON,
            body: format!("{value}\n"),
        }
    }

    fn into_response(self) -> Response<String> {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
