//! HTTP in bytes, and what is scraped read strictly.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use super::PATIENCE;

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

/// What was scraped: each sample by its name and labels, as they are written.
#[derive(Clone, Debug, Default)]
pub struct Scrape {
    /// Of each family: its type.
    pub types: BTreeMap<String, String>,
    pub samples: BTreeMap<(String, Labels), f64>,
}

pub type Labels = BTreeMap<String, String>;

/// Waits until clients are owed so many replies in all, as the admin address says.
#[track_caller]
pub fn wait_for_owed(admin: SocketAddr, count: u64) {
    super::eventually("so many replies are owed", || {
        Scrape::of(admin).count("respgate_owed_replies", &[]) == count
    });
}

/// Sends these bytes, and reads until the other side closes.
#[track_caller]
pub fn exchange(address: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(address).expect("nobody listens");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        assert!(
            !bytes.is_empty(),
            "{error} in place of an answer: {request}"
        );
    }
    parse(&String::from_utf8(bytes).unwrap())
}

/// A request with these headers besides Host, each with its line end.
#[track_caller]
pub fn ask(address: SocketAddr, method: &str, path: &str, headers: &str) -> Answer {
    exchange(
        address,
        &format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n"),
    )
}

#[track_caller]
pub fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, "GET", path, "")
}

#[track_caller]
pub fn parse(text: &str) -> Answer {
    let (head, body) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no HTTP: {text:?}"));
    let mut lines = head.lines();
    let status = lines.next().unwrap();
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_ascii_lowercase(), value.to_owned())
    });
    Answer {
        status: status.split(' ').nth(1).unwrap().parse().unwrap(),
        headers: headers.collect(),
        body: body.to_owned(),
    }
}

// === impl Answer ===

impl Answer {
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:#?}");
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        assert_eq!(self.headers["content-type"], "application/json");
        serde_json::from_str(&self.body).expect("JSON")
    }
}

// === impl Scrape ===

impl Scrape {
    /// Scrapes and reads.
    #[track_caller]
    pub fn of(address: SocketAddr) -> Self {
        let answer = get(address, "/metrics").expect(200);
        assert_eq!(
            answer.headers["content-type"],
            "application/openmetrics-text; version=1.0.0; charset=utf-8"
        );
        Self::parse(&answer.body)
    }

    /// Reads OpenMetrics, and takes nothing that a scraper would not.
    #[track_caller]
    pub fn parse(text: &str) -> Self {
        let mut scrape = Self::default();
        let mut family = String::new();
        let mut lines = text.lines();
        assert_eq!(lines.next_back(), Some("# EOF"));
        let mut helped = BTreeSet::new();
        for line in lines {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, text) = help.split_once(' ').expect("a text");
                assert!(
                    helped.insert(name.to_owned()) && text.ends_with('.'),
                    "{line}"
                );
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("a type");
                assert!(helped.contains(name), "no help: {line}");
                let kinds = ["counter", "gauge", "histogram"];
                assert!(kinds.contains(&kind), "{line}");
                family = name.to_owned();
                let before = scrape.types.insert(family.clone(), kind.to_owned());
                assert_eq!(before, None, "{name} is there twice");
            } else {
                let (name, labels, value) = parse_sample(line);
                let suffixes: &[&str] = match &*scrape.types[&family] {
                    "counter" => &["_total"],
                    "histogram" => &["_sum", "_count", "_bucket"],
                    _ => &[""],
                };
                let suffix = name.strip_prefix(&*family);
                assert!(
                    suffix.is_some_and(|suffix| suffixes.contains(&suffix)),
                    "{line} in {family}"
                );
                assert!(value >= 0.0, "{line}");
                let before = scrape.samples.insert((name, labels), value);
                assert_eq!(before, None, "twice: {line}");
            }
        }
        scrape
    }

    /// The sum of all samples of this name that have these labels, among others.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.with(name, labels).map(|(_, value)| value).sum()
    }

    /// The same, of whole numbers.
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.sum(name, labels) as u64
    }

    pub fn with<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = (&'a Labels, f64)> {
        self.samples
            .iter()
            .filter(move |((sample, theirs), _)| {
                let fits = |(key, value): &(&str, &str)| {
                    theirs.get(*key).is_some_and(|their| their == value)
                };
                sample == name && labels.iter().all(fits)
            })
            .map(|((_, labels), value)| (labels, *value))
    }

    /// The values that a label has.
    pub fn values(&self, name: &str, label: &str) -> BTreeSet<String> {
        let labels = self.with(name, &[]);
        labels
            .filter_map(|(labels, _)| labels.get(label).cloned())
            .collect()
    }

    /// What may only grow hasn't fallen since, nor gone.
    #[track_caller]
    pub fn assert_grown_from(&self, before: &Self) {
        for ((name, labels), old) in &before.samples {
            let grows = ["_total", "_count", "_bucket", "_sum"];
            if !grows.iter().any(|suffix| name.ends_with(suffix)) {
                continue;
            }
            let new = self.samples.get(&(name.clone(), labels.clone()));
            assert!(
                new.is_some_and(|new| new >= old),
                "{name}{labels:?} was {old} and is {new:?}"
            );
        }
    }
}

/// `name{key="value",…} number`
#[track_caller]
fn parse_sample(line: &str) -> (String, Labels, f64) {
    let end = line
        .find(['{', ' '])
        .unwrap_or_else(|| panic!("no sample: {line}"));
    let name = &line[..end];
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    assert!(!name.is_empty() && name.chars().all(is_name), "{line}");
    let mut labels = Labels::new();
    let mut rest = &line[end..];
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (key, behind) = rest.split_once("=\"").expect("a label");
            assert!(key.chars().all(is_name) && !key.is_empty(), "{line}");
            let mut value = String::new();
            let mut chars = behind.char_indices();
            let close = loop {
                match chars.next().expect("the end of a value") {
                    (at, '"') => break at,
                    (_, '\\') => value.push(match chars.next().expect("what is escaped").1 {
                        'n' => '\n',
                        c @ ('"' | '\\') => c,
                        c => panic!("\\{c} in {line}"),
                    }),
                    (_, c) => value.push(c),
                }
            };
            assert_eq!(labels.insert(key.to_owned(), value), None, "{line}");
            rest = &behind[close + 1..];
            match rest.split_at(1) {
                (",", behind) => rest = behind,
                ("}", behind) => {
                    rest = behind;
                    break;
                }
                _ => panic!("{line}"),
            }
        }
    }
    let number = rest.strip_prefix(' ').expect("a blank");
    (name.to_owned(), labels, number.parse().expect("a number"))
}
