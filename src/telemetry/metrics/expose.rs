//! The text that is scraped: OpenMetrics, which Prometheus reads since 2.5.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::Distribution;

/// What the text is, to who asks for it over HTTP.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One metric, with all its label sets.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// As dashboards name it; of a counter, without `_total`.
    pub name: &'static str,
    /// What it tells.
    pub help: &'static str,
    /// What may be done with it.
    pub kind: Kind,
    /// No label set twice.
    pub samples: Vec<Sample>,
}

/// What may be done with a metric.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It also falls.
    Gauge,
    /// Buckets.
    Histogram,
}

/// One label set and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Names and values.
    pub labels: Vec<(&'static str, String)>,
    /// Fits the family's kind.
    pub value: Value,
}

/// A number.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A whole one.
    Count(u64),
    /// Any.
    Number(f64),
    /// Buckets.
    Distribution(Distribution),
}

/// The families, until they are written.
#[derive(Debug)]
struct Scrape(Vec<Family>);

/// Writes the families as they are scraped.
///
/// # Errors
/// Never: a string takes everything.
pub fn expose(families: Vec<Family>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(families)));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

// === impl Family ===

impl Family {
    /// One without samples.
    pub fn new(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self {
            name,
            help,
            kind,
            samples: Vec::new(),
        }
    }

    /// The same with a whole number that has no labels.
    #[must_use]
    pub fn count(self, value: u64) -> Self {
        self.with(Vec::new(), Value::Count(value))
    }

    /// The same with one more sample.
    #[must_use]
    pub fn with(mut self, labels: Vec<(&'static str, String)>, value: Value) -> Self {
        self.put(labels, value);
        self
    }

    /// One more sample.
    pub fn put(&mut self, labels: Vec<(&'static str, String)>, value: Value) {
        self.samples.push(Sample { labels, value });
    }
}

// === impl Scrape ===

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in &self.0 {
            let kind = match family.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            for Sample { labels, value } in &family.samples {
                if labels.is_empty() {
                    write(&mut metric, family.kind, value)?;
                    continue;
                }
                let labels: Vec<_> = labels
                    .iter()
                    .map(|(name, value)| (*name, &**value))
                    .collect();
                write(&mut metric.encode_family(&labels)?, family.kind, value)?;
            }
        }
        Ok(())
    }
}

fn write(metric: &mut MetricEncoder<'_>, kind: Kind, value: &Value) -> fmt::Result {
    match (kind, value) {
        (Kind::Counter, Value::Count(count)) => {
            metric.encode_counter::<NoLabelSet, _, u64>(count, None)
        }
        (Kind::Counter, Value::Number(number)) => {
            metric.encode_counter::<NoLabelSet, _, f64>(number, None)
        }
        (_, Value::Distribution(distribution)) => {
            let buckets: Vec<_> = distribution.buckets().collect();
            let (sum, count) = (distribution.seconds(), distribution.count());
            metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
        }
        (_, Value::Count(count)) => metric.encode_gauge(count),
        (_, Value::Number(number)) => metric.encode_gauge(number),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Histogram;
    use super::*;

    #[test]
    fn the_text_is_what_a_scraper_reads() {
        let histogram = Histogram::default();
        histogram.observe(Duration::from_millis(2));
        histogram.observe(Duration::from_secs(9));
        let mut distribution = Distribution::default();
        histogram.sum(&mut distribution);
        let user = |name: &str| vec![("user", name.to_owned()), ("verdict", "allow".to_owned())];
        let text = expose(vec![
            Family::new("respgate_commands", Kind::Counter, "Requests.")
                .with(user("cart"), Value::Count(7))
                .with(user("a\"b\\c\nd"), Value::Count(u64::MAX)),
            Family::new("respgate_up", Kind::Gauge, "Whether.").count(1),
            Family::new("respgate_none", Kind::Gauge, "Nothing yet."),
            Family::new("process_cpu_seconds", Kind::Counter, "Time.")
                .with(Vec::new(), Value::Number(1.5)),
            Family::new("respgate_latency_seconds", Kind::Histogram, "Time.")
                .with(Vec::new(), Value::Distribution(distribution)),
        ])
        .unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "# HELP respgate_commands Requests.");
        assert_eq!(lines[1], "# TYPE respgate_commands counter");
        assert_eq!(
            lines[2],
            r#"respgate_commands_total{user="cart",verdict="allow"} 7"#
        );
        assert_eq!(
            lines[3],
            r#"respgate_commands_total{user="a\"b\\c\nd",verdict="allow"} 18446744073709551615"#
        );
        for line in [
            "respgate_up 1",
            "# TYPE respgate_none gauge",
            "process_cpu_seconds_total 1.5",
            "respgate_latency_seconds_count 2",
            r#"respgate_latency_seconds_bucket{le="0.001"} 0"#,
            r#"respgate_latency_seconds_bucket{le="0.0025"} 1"#,
            r#"respgate_latency_seconds_bucket{le="5.0"} 1"#,
            r#"respgate_latency_seconds_bucket{le="+Inf"} 2"#,
        ] {
            assert!(lines.contains(&line), "no {line} in:\n{text}");
        }
        assert_eq!(lines.last(), Some(&"# EOF"));
    }
}
