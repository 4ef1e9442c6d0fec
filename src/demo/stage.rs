//! What the audience sees. The only place of the demo that writes to stdout.

use std::io::{self, IsTerminal, Write};

use crate::resp::Reply;

use super::client::{shown, typed};
use super::scene::Scene;

/// Plain text, with colours where a terminal shows it.
pub(super) struct Stage {
    out: Box<dyn Write>,
    colours: bool,
    step: usize,
    over: bool,
}

#[derive(Clone, Copy)]
enum Style {
    Title,
    Sent,
    Refused,
    Why,
}

// === impl Stage ===

impl Stage {
    pub(super) fn new() -> Self {
        let out = io::stdout();
        // https://no-color.org: set to anything but nothing.
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            colours: out.is_terminal() && !unwanted,
            out: Box::new(out),
            step: 0,
            over: false,
        }
    }

    /// Whether the tour has been shown to its end.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// A line as it is.
    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}")?;
        self.out.flush()
    }

    /// The next step of the tour.
    pub(super) fn step(&mut self, title: &str) -> io::Result<()> {
        self.step += 1;
        let title = format!("{}. {title}", self.step);
        let title = self.styled(Style::Title, &title);
        self.line("")?;
        self.line(&title)
    }

    /// What somebody sends.
    pub(super) fn sent(&mut self, who: &str, words: &[&str]) -> io::Result<()> {
        self.act(&format!("{who}> {}", typed(words)))
    }

    /// What somebody does, that is no request.
    pub(super) fn act(&mut self, text: &str) -> io::Result<()> {
        let text = self.styled(Style::Sent, text);
        self.line(&format!("   {text}"))
    }

    /// What comes back.
    pub(super) fn reply(&mut self, reply: &Reply) -> io::Result<()> {
        let refused = matches!(reply, Reply::Error(_));
        for line in shown(reply) {
            if refused {
                self.refused(&line)?;
            } else {
                self.line(&format!("   {line}"))?;
            }
        }
        Ok(())
    }

    /// What comes back where something is refused.
    pub(super) fn refused(&mut self, text: &str) -> io::Result<()> {
        let text = self.styled(Style::Refused, text);
        self.line(&format!("   {text}"))
    }

    /// One line of why.
    pub(super) fn why(&mut self, text: &str) -> io::Result<()> {
        let text = self.styled(Style::Why, &format!("# {text}"));
        self.line(&format!("   {text}"))
    }

    /// The tour was shown to its end.
    pub(super) fn applause(&mut self) -> io::Result<()> {
        self.over = true;
        self.line("")?;
        self.line("The tour is over: everything went as promised.")
    }

    /// What one can try now.
    pub(super) fn epilogue(&mut self, scene: &Scene) -> io::Result<()> {
        let port = scene.address().port();
        let cert = |name: &str| scene.certificate(name).display().to_string();
        let ca = cert("ca.pem");
        self.line("")?;
        let title = self.styled(Style::Title, "It stays until Ctrl-C. Try it yourself:");
        self.line(&title)?;
        for user in ["cart", "ops"] {
            self.line("")?;
            self.line(&format!(
                "redis-cli --tls -h 127.0.0.1 -p {port} --cacert {ca} --cert {} --key {}",
                cert(&format!("{user}.pem")),
                cert(&format!("{user}.key")),
            ))?;
        }
        self.line("")?;
        self.line(&format!(
            "python3 -c 'import redis; r = redis.Redis(host=\"127.0.0.1\", port={port}, ssl=True, \
             ssl_ca_certs=\"{ca}\", ssl_certfile=\"{}\", ssl_keyfile=\"{}\", protocol=2); \
             r.set(\"cart:1\", \"from Python\"); print(r.get(\"cart:1\"))'",
            cert("cart.pem"),
            cert("cart.key"),
        ))?;
        self.line("")?;
        self.line(&format!("tail -f {}", scene.audit().display()))?;
        self.line(&format!(
            "cat {} {}",
            scene.config().display(),
            scene.acl().display()
        ))?;
        self.line("")?;
        self.line("And around the proxy, where a password that nobody knows is in the way:")?;
        self.line("")?;
        self.line(&format!("redis-cli -s {} PING", scene.socket().display()))
    }

    fn styled(&self, style: Style, text: &str) -> String {
        if !self.colours {
            return text.to_owned();
        }
        let code = match style {
            Style::Title => "1",
            Style::Sent => "36",
            Style::Refused => "31",
            Style::Why => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}
