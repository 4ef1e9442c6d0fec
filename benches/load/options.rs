//! The command line, as plain pairs: its only caller is a program.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::Failure;

pub(crate) enum Mode {
    Run,
    Idle,
    Handshakes,
    Fill,
}

/// Where the certificates are.
pub(crate) struct Files {
    pub(crate) ca: PathBuf,
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

pub(crate) struct Options {
    pub(crate) mode: Mode,
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<Files>,
    pub(crate) connections: usize,
    pub(crate) pipeline: usize,
    pub(crate) size: usize,
    /// GETs and SETs: so many of the one to so many of the other.
    pub(crate) gets: u32,
    pub(crate) sets: u32,
    pub(crate) keys: u32,
    /// Connections that may be busy at a time.
    pub(crate) window: usize,
    /// Operations (or handshakes) a second, whatever the server makes of them.
    pub(crate) rate: Option<f64>,
    pub(crate) warmup: Duration,
    pub(crate) duration: Duration,
    pub(crate) count: usize,
    pub(crate) resume: bool,
}

// === impl Options ===

impl Options {
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, Failure> {
        let mut words = arguments.iter().filter(|word| *word != "--bench");
        let mode = match words.next().map(String::as_str) {
            Some("run") => Mode::Run,
            Some("idle") => Mode::Idle,
            Some("handshakes") => Mode::Handshakes,
            Some("fill") => Mode::Fill,
            other => return Err(format!("no such mode: {other:?}").into()),
        };
        let mut options = Self {
            mode,
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            tls: None,
            connections: 1,
            pipeline: 1,
            size: 64,
            gets: 1,
            sets: 1,
            keys: 10_000,
            window: usize::MAX,
            rate: None,
            warmup: Duration::from_millis(300),
            duration: Duration::from_secs(2),
            count: 100,
            resume: false,
        };
        let (mut ca, mut cert, mut key) = (None, None, None);
        while let Some(name) = words.next() {
            if name == "--resume" {
                options.resume = true;
                continue;
            }
            let value = words
                .next()
                .ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--port" => options.address.set_port(number(name, value)?),
                "--connections" => options.connections = number(name, value)?,
                "--pipeline" => options.pipeline = number(name, value)?,
                "--size" => options.size = number(name, value)?,
                "--keys" => options.keys = number(name, value)?,
                "--window" => options.window = number(name, value)?,
                "--rate" => options.rate = Some(number(name, value)?),
                "--warmup" => options.warmup = Duration::from_secs_f64(number(name, value)?),
                "--seconds" => options.duration = Duration::from_secs_f64(number(name, value)?),
                "--count" => options.count = number(name, value)?,
                "--mix" => {
                    let (gets, sets) = value.split_once(':').ok_or("--mix is GETS:SETS")?;
                    options.gets = number(name, gets)?;
                    options.sets = number(name, sets)?;
                }
                "--ca" => ca = Some(PathBuf::from(value)),
                "--cert" => cert = Some(PathBuf::from(value)),
                "--key" => key = Some(PathBuf::from(value)),
                _ => return Err(format!("no such option: {name}").into()),
            }
        }
        options.tls = match (ca, cert, key) {
            (None, None, None) => None,
            (Some(ca), Some(cert), Some(key)) => Some(Files { ca, cert, key }),
            _ => return Err("--ca, --cert and --key go together".into()),
        };
        let positive = [options.connections, options.pipeline, options.window];
        if positive.contains(&0) || options.keys == 0 || options.gets + options.sets == 0 {
            return Err("a number must not be 0".into());
        }
        if options.rate.is_some_and(|rate| rate <= 0.0) {
            return Err("--rate must be more than 0".into());
        }
        Ok(options)
    }
}

fn number<T: FromStr>(name: &str, value: &str) -> Result<T, Failure> {
    value
        .parse()
        .map_err(|_| format!("{name}: {value:?} is no such number").into())
}
