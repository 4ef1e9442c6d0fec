//! Who may ask for what.
//!
//! Two kinds of peers are kept out: who knows no token, and the web page that has made somebody's browser
//! ask, which the address alone would let in.

use std::path::PathBuf;
use std::time::Instant;

use hyper::header::{AUTHORIZATION, HOST, ORIGIN};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode, Version};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::config::{Bind, Secret};
use crate::proxy::RefusalLog;

/// The paths that say no more than yes or no.
pub(super) const HEALTH: [&str; 2] = ["/healthz", "/readyz"];

/// What an address serves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Scope {
    Everything,
    /// [`HEALTH`] alone, to anybody.
    Health,
}

/// The rules of one address.
#[derive(Debug)]
pub(super) struct Guard {
    pub(super) scope: Scope,
    reach: Reach,
    token_file: Option<PathBuf>,
    /// Of a token's file that can't be used: whoever asks can make such lines.
    troubles: RefusalLog,
}

/// From where the address can be reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reach {
    /// By who may open the file.
    File,
    /// From this host: by its users, and by their browsers.
    Host,
    Network,
}

/// Why a request is not answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Refused(pub(super) StatusCode, pub(super) &'static str);

// === impl Scope ===

impl Scope {
    /// For the log.
    pub(super) fn paths(self) -> &'static str {
        match self {
            Self::Everything => "all",
            Self::Health => "health",
        }
    }
}

// === impl Guard ===

impl Guard {
    pub(super) fn new(scope: Scope, bind: &Bind, token_file: Option<PathBuf>) -> Self {
        let reach = match bind {
            Bind::Unix(_) => Reach::File,
            Bind::Tcp(address) if address.ip().to_canonical().is_loopback() => Reach::Host,
            Bind::Tcp(_) => Reach::Network,
        };
        Self {
            scope,
            reach,
            token_file,
            troubles: RefusalLog::default(),
        }
    }

    /// Whether the request may be answered. Reads the token's file where it matters.
    pub(super) fn admit(&self, request: &Parts) -> Result<(), Refused> {
        if self.scope == Scope::Health {
            return Ok(());
        }
        // No tool sends it. A browser does where one site asks another.
        if request.headers.contains_key(ORIGIN) {
            return Err(Refused(
                StatusCode::FORBIDDEN,
                "requests of web pages are refused",
            ));
        }
        let is_read = request.method == Method::GET || request.method == Method::HEAD;
        let is_health = HEALTH.contains(&request.uri.path());
        let must_prove = !is_read || self.reach == Reach::Network && !is_health;
        if self.proves_itself(request, must_prove)? {
            // Who knows the token is no page in a browser, whatever name it has called us by.
            return Ok(());
        }
        self.check_host(request)
    }

    /// Whether the request has the token; one that has another is refused, and one that has none if it
    /// must.
    fn proves_itself(&self, request: &Parts, must: bool) -> Result<bool, Refused> {
        let Some(path) = &self.token_file else {
            // A configuration error, where reading needs one.
            let reason = "admin.token_file is not configured: nothing but reading is allowed";
            return match must {
                true => Err(Refused(StatusCode::FORBIDDEN, reason)),
                false => Ok(false),
            };
        };
        let given = request.headers.get(AUTHORIZATION);
        let Some(given) = given.map(|value| bearer(value.as_bytes())) else {
            return match must {
                true => Err(Refused(StatusCode::UNAUTHORIZED, "a token is needed")),
                false => Ok(false),
            };
        };
        // Anew each time: who exchanges the file has exchanged the token.
        let token = Secret::read_token(path).map_err(|error| {
            if let Some(suppressed) = self.troubles.ask(Instant::now()) {
                tracing::warn!(
                    error,
                    suppressed,
                    "admin.token_file can't be used: requests are refused"
                );
            }
            let reason = "admin.token_file can't be used; the log says why";
            Refused(StatusCode::INTERNAL_SERVER_ERROR, reason)
        })?;
        match given.is_some_and(|given| are_equal(given, token.expose().as_bytes())) {
            true => Ok(true),
            false => Err(Refused(StatusCode::UNAUTHORIZED, "it is another token")),
        }
    }

    /// A page whose name was made to mean this host asks with its own name, which no tool of this host
    /// has a reason to use.
    fn check_host(&self, request: &Parts) -> Result<(), Refused> {
        if self.reach == Reach::File {
            return Ok(());
        }
        let mut hosts = request.headers.get_all(HOST).iter();
        match (hosts.next(), hosts.next()) {
            // Which no browser speaks; health checks of load balancers do.
            (None, None) if request.version == Version::HTTP_10 => Ok(()),
            (Some(host), None) if names_an_address(host.as_bytes()) => Ok(()),
            (Some(_), None) => Err(Refused(
                StatusCode::FORBIDDEN,
                "the Host header must be an address or localhost (or send the token)",
            )),
            _ => Err(Refused(
                StatusCode::BAD_REQUEST,
                "there must be one Host header",
            )),
        }
    }
}

/// The token of an Authorization header; `None`: it is something else.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"Bearer ")
        .then(|| token.trim_ascii())
}

/// The time that it takes tells neither where they differ nor how long the token is.
fn are_equal(given: &[u8], token: &[u8]) -> bool {
    Sha256::digest(given).ct_eq(&Sha256::digest(token)).into()
}

/// Whether a Host header names no site: an address, or `localhost`, with or without port.
fn names_an_address(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else {
        return false;
    };
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(v6) = host.strip_prefix('[') {
        return v6.split_once(']').is_some_and(|(v6, rest)| {
            let port_follows = rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
            port_follows && v6.parse::<std::net::Ipv6Addr>().is_ok()
        });
    }
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    let is_name = name.eq_ignore_ascii_case("localhost");
    is_port(port) && (is_name || name.parse::<std::net::Ipv4Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    struct Asked(hyper::http::request::Builder);

    fn get(path: &str) -> Asked {
        Asked(Request::builder().uri(path)).with("host", "127.0.0.1:9180")
    }

    impl Asked {
        fn with(self, name: &str, value: &str) -> Self {
            Self(self.0.header(name, value))
        }

        fn method(self, method: &str) -> Self {
            Self(self.0.method(method))
        }

        fn of(self, guard: &Guard) -> u16 {
            let (parts, ()) = self.0.body(()).unwrap().into_parts();
            guard.admit(&parts).map_or_else(|it| it.0.as_u16(), |()| 0)
        }
    }

    fn guard(bind: &str, token_file: Option<PathBuf>) -> Guard {
        let bind = match bind.strip_prefix("unix:") {
            Some(path) => Bind::Unix(path.into()),
            None => Bind::Tcp(bind.parse().unwrap()),
        };
        Guard::new(Scope::Everything, &bind, token_file)
    }

    fn token_file() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "correct horse\n").unwrap();
        (dir, path)
    }

    #[test]
    fn without_a_token_nothing_but_reading_is_allowed() {
        let guard = guard("127.0.0.1:9180", None);
        assert_eq!(get("/metrics").of(&guard), 0);
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            let asked = get("/reload").method(method);
            assert_eq!(asked.of(&guard), 403, "{method}");
            let asked = get("/reload")
                .method(method)
                .with("authorization", "Bearer ");
            assert_eq!(asked.of(&guard), 403, "{method}");
        }
    }

    #[test]
    fn the_token_must_be_the_one_in_the_file() {
        let (_dir, path) = token_file();
        let guard = guard("127.0.0.1:9180", Some(path.clone()));
        let post = || get("/reload").method("POST");
        assert_eq!(post().of(&guard), 401);
        for right in ["Bearer correct horse", "bearer  correct horse "] {
            assert_eq!(post().with("authorization", right).of(&guard), 0, "{right}");
        }
        for wrong in [
            "Bearer correct hors",
            "Bearer correct horses",
            "Bearer ",
            "Basic correct horse",
            "correct horse",
            "",
        ] {
            let asked = post().with("authorization", wrong);
            assert_eq!(asked.of(&guard), 401, "{wrong}");
            let asked = get("/metrics").with("authorization", wrong);
            assert_eq!(asked.of(&guard), 401, "{wrong}");
        }
        std::fs::write(&path, "another").unwrap();
        let asked = post().with("authorization", "Bearer correct horse");
        assert_eq!(asked.of(&guard), 401, "the file has another one now");
        std::fs::write(&path, " padded\t\r\n").unwrap();
        assert_eq!(post().with("authorization", "Bearer padded").of(&guard), 0);
        for blank in ["", "\n", " \t\n"] {
            std::fs::write(&path, blank).unwrap();
            assert_eq!(post().with("authorization", "Bearer ").of(&guard), 500);
        }
    }

    #[test]
    fn from_the_network_all_but_health_needs_the_token() {
        let (_dir, path) = token_file();
        let guard = guard("0.0.0.0:9180", Some(path));
        for path in ["/metrics", "/status", "/", "/healthz/"] {
            assert_eq!(get(path).of(&guard), 401, "{path}");
            let asked = get(path).with("authorization", "Bearer correct horse");
            assert_eq!(asked.of(&guard), 0, "{path}");
        }
        for path in HEALTH {
            assert_eq!(get(path).of(&guard), 0, "{path}");
        }
    }

    #[test]
    fn a_page_in_a_browser_gets_nothing() {
        let (_dir, path) = token_file();
        let guard = guard("127.0.0.1:9180", Some(path));
        let named = |host: &str| Asked(Request::builder().uri("/metrics")).with("host", host);
        for host in [
            "127.0.0.1",
            "127.0.0.1:9180",
            "10.1.2.3:9180",
            "[::1]:9180",
            "localhost",
            "LOCALHOST:9180",
        ] {
            assert_eq!(named(host).of(&guard), 0, "{host}");
            let asked = named(host).with("origin", "http://127.0.0.1:9180");
            assert_eq!(asked.of(&guard), 403, "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:9180",
            "127.0.0.1.evil.example:9180",
            "localhost.evil.example",
            "[::1",
            "[evil.example]",
            "[::1]evil.example",
            "[::1].evil.example:9180",
            "localhost:evil.example",
            "localhost:80@evil.example",
            "localhost:9180:80",
            "localhost.",
            "evil.example@127.0.0.1",
            "",
        ] {
            assert_eq!(named(host).of(&guard), 403, "{host}");
        }
        let asked = named("respgate.internal").with("authorization", "Bearer correct horse");
        assert_eq!(asked.of(&guard), 0, "a scraper that goes by name");
        let asked = get("/metrics").with("host", "evil.example");
        assert_eq!(asked.of(&guard), 400, "two of them");
    }

    #[test]
    fn only_old_clients_need_no_host() {
        let guard = guard("127.0.0.1:9180", None);
        let bare = || Asked(Request::builder().uri("/readyz"));
        assert_eq!(bare().of(&guard), 400);
        let old = Asked(bare().0.version(Version::HTTP_10));
        assert_eq!(old.of(&guard), 0);
    }

    #[test]
    fn a_unix_socket_goes_by_any_name_and_changes_nothing_without_token() {
        let guard = guard("unix:/run/admin.sock", None);
        let asked = || Asked(Request::builder().uri("/metrics")).with("host", "respgate");
        assert_eq!(asked().of(&guard), 0);
        assert_eq!(asked().method("POST").of(&guard), 403);
    }
}
