//! Replies to commands that name addresses, shape by shape.
//!
//! The shapes are those of Redis 5.0 to 8.2, in RESP2 and RESP3: what is a map in RESP3 is a flat
//! array of names and values in RESP2, and both are read as the latter. The number of values never
//! changes, so headers of aggregates are copied.

use bytes::BytesMut;

use super::values::{Body, Value, Values};
use super::{Addresses, lines, messages};

/// What kind of answer a command gets, as far as addresses go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// ROLE: a replica names its master, a master its replicas.
    Role,
    /// INFO, and SENTINEL INFO-CACHE: INFO's text, at whatever depth.
    Info,
    /// SENTINEL GET-MASTER-ADDR-BY-NAME: host and port.
    MasterAddress,
    /// SENTINEL MASTERS, MASTER, REPLICAS, SLAVES, SENTINELS: fields of one instance, or of many.
    Instances,
    /// CLUSTER SLOTS.
    ClusterSlots,
    /// CLUSTER SHARDS, since 7.0.
    ClusterShards,
    /// CLUSTER NODES, REPLICAS, SLAVES.
    ClusterNodes,
}

/// How deep INFO's text may be: SENTINEL INFO-CACHE nests three arrays around it.
const INFO_DEPTH: u8 = 3;

/// Appends replies.
struct Writer<'m> {
    map: &'m Addresses,
    out: &'m mut BytesMut,
    /// A text in the making; its length stands before it.
    text: Vec<u8>,
    changed: bool,
}

// === impl Answer ===

impl Answer {
    /// The answer to the command of this full name, lower case (`sentinel|replicas`); `None` where
    /// it names no addresses. CLUSTER LINKS is such a one: it has node ids alone (7.0 to 8.2).
    pub fn of(name: &str) -> Option<Self> {
        Some(match name {
            "role" => Self::Role,
            "info" | "sentinel|info-cache" => Self::Info,
            "sentinel|get-master-addr-by-name" => Self::MasterAddress,
            "sentinel|masters" | "sentinel|master" | "sentinel|replicas" | "sentinel|slaves"
            | "sentinel|sentinels" => Self::Instances,
            "cluster|slots" => Self::ClusterSlots,
            "cluster|shards" => Self::ClusterShards,
            "cluster|nodes" | "cluster|replicas" | "cluster|slaves" => Self::ClusterNodes,
            _ => return None,
        })
    }
}

/// Maps the addresses in one whole reply to a command whose answer is `answer`.
///
/// True: the new reply was appended to `out`. False: nothing was; what came stands as it is, because
/// nothing in it is in the map, or it isn't what Redis answers (an error, say).
#[must_use]
pub fn rewrite_answer(answer: Answer, reply: &[u8], map: &Addresses, out: &mut BytesMut) -> bool {
    if map.is_empty() {
        return false;
    }
    let start = out.len();
    let mut writer = Writer {
        map,
        out,
        text: Vec::new(),
        changed: false,
    };
    let read = whole(reply).and_then(|value| writer.answer(answer, value));
    let changed = read.is_some() && writer.changed;
    if !changed {
        out.truncate(start);
    }
    changed
}

/// The same for the reply to EXEC: `answers` are those of the queued commands, in their order. A
/// redirection among them is mapped too.
#[must_use]
pub fn rewrite_transaction(
    answers: &[Option<Answer>],
    reply: &[u8],
    map: &Addresses,
    out: &mut BytesMut,
) -> bool {
    let Some(Body::Items(header, mut items)) = whole(reply).map(|value| value.body) else {
        return false;
    };
    if map.is_empty() {
        return false;
    }
    let start = out.len();
    out.extend_from_slice(header);
    let mut changed = false;
    let mut answers = answers.iter();
    while let Some(item) = items.take() {
        let new = match answers.next() {
            Some(Some(answer)) => rewrite_answer(*answer, item.raw, map, out),
            Some(None) => messages::rewrite_redirect(item.raw, map, out),
            None => false,
        };
        if !new {
            item.copy(out);
        }
        changed |= new;
    }
    changed &= items.is_empty();
    if !changed {
        out.truncate(start);
    }
    changed
}

/// The one value that a reply is.
fn whole(reply: &[u8]) -> Option<Value<'_>> {
    let mut values = Values::of(reply);
    let value = values.take()?;
    values.is_empty().then_some(value)
}

// === impl Writer ===

// `None` throughout: not the shape that is expected, and the reply is left as it came.
impl<'m> Writer<'m> {
    fn answer(&mut self, answer: Answer, value: Value<'_>) -> Option<()> {
        match answer {
            Answer::Role => self.role(value),
            Answer::Info => self.info(value, INFO_DEPTH),
            Answer::MasterAddress => self.host_and_port(value),
            Answer::Instances => self.instances(value),
            Answer::ClusterSlots => self.each(value, Self::slot_range),
            Answer::ClusterShards => self.each(value, |writer, shard| {
                writer.each_field(shard, |writer, name, value| match name {
                    b"nodes" => writer.each(value, Self::shard_node),
                    _ => writer.copy(value),
                })
            }),
            Answer::ClusterNodes => match value.body {
                Body::Text(text) => self.put(value, text, lines::nodes),
                _ => self.each(value, |writer, line| {
                    writer.put(line, line.text()?, lines::nodes)
                }),
            },
        }
    }

    /// `[master, offset, [[host, port, offset]…]]` or `[slave, host, port, state, offset]`. A
    /// Sentinel answers `[sentinel, [names…]]`.
    fn role(&mut self, value: Value<'_>) -> Option<()> {
        let mut items = self.open(value)?;
        let role = items.take()?;
        self.copy(role)?;
        match role.text()? {
            b"master" => {
                let offset = items.take()?;
                self.copy(offset)?;
                self.each(items.take()?, Self::host_and_port)?;
            }
            b"slave" => {
                let (host, port) = items.take_pair()?;
                self.pair(host, port)?;
            }
            _ => return None,
        }
        self.rest(items)
    }

    /// `[host, port, …]`
    fn host_and_port(&mut self, value: Value<'_>) -> Option<()> {
        let mut items = self.open(value)?;
        let (host, port) = items.take_pair()?;
        self.pair(host, port)?;
        self.rest(items)
    }

    fn info(&mut self, value: Value<'_>, depth: u8) -> Option<()> {
        match value.body {
            Body::Text(text) => self.put(value, text, lines::info),
            Body::Items(..) if depth > 0 => {
                self.each(value, |writer, item| writer.info(item, depth - 1))
            }
            _ => self.copy(value),
        }
    }

    /// The fields of one instance, or an array of such.
    fn instances(&mut self, value: Value<'_>) -> Option<()> {
        let first = value.items()?.take();
        match first.map(|first| first.body) {
            Some(Body::Items(..)) => self.each(value, Self::instance),
            _ => self.instance(value),
        }
    }

    fn instance(&mut self, value: Value<'_>) -> Option<()> {
        let own = self.in_fields(value, b"ip", b"port");
        let master = self.in_fields(value, b"master-host", b"master-port");
        self.each_field(value, |writer, name, value| match (name, own, master) {
            (b"ip", Some((host, _)), _) | (b"master-host", _, Some((host, _))) => {
                writer.put_host(value, host)
            }
            (b"port", Some((_, port)), _) | (b"master-port", _, Some((_, port))) => {
                writer.put_port(value, port)
            }
            // Of a replica, and of a Sentinel that hasn't said its id yet.
            (b"name", ..) => writer.put(value, value.text()?, lines::address),
            _ => writer.copy(value),
        })
    }

    /// `[first slot, last slot, node…]`
    fn slot_range(&mut self, value: Value<'_>) -> Option<()> {
        let mut items = self.open(value)?;
        let (first, last) = items.take_pair()?;
        self.copy(first)?;
        self.copy(last)?;
        while !items.is_empty() {
            self.slot_node(items.take()?)?;
        }
        Some(())
    }

    /// `[endpoint, port, id, {ip, hostname}]`; the id came with 4.0, the rest with 7.0. Which of
    /// address and name is the endpoint, or neither, `cluster-preferred-endpoint-type` says: the
    /// other stands in the fields.
    fn slot_node(&mut self, value: Value<'_>) -> Option<()> {
        let mut items = self.open(value)?;
        let (endpoint, port) = items.take_pair()?;
        let id = items.take();
        let fields = items.take();
        let hosts = [
            Some(endpoint),
            fields.and_then(|fields| field(fields, b"ip")),
            fields.and_then(|fields| field(fields, b"hostname")),
        ];
        let target = self.node(hosts, [Some(port), None]);
        match target {
            Some((host, own)) => {
                self.put_host(endpoint, host)?;
                self.put_port(port, own)?;
            }
            None => {
                self.copy(endpoint)?;
                self.copy(port)?;
            }
        }
        if let Some(id) = id {
            self.copy(id)?;
        }
        match (fields, target) {
            (Some(fields), Some((host, _))) => {
                self.each_field(fields, |writer, name, value| match name {
                    b"ip" | b"hostname" => writer.put_host_unless_empty(value, host),
                    _ => writer.copy(value),
                })?;
            }
            (Some(fields), None) => self.copy(fields)?,
            (None, _) => {}
        }
        self.rest(items)
    }

    /// `{id, port, tls-port, ip, endpoint, hostname, role, …}`. A client takes the endpoint and, if
    /// it speaks TLS, `tls-port` before `port`; all are replaced, so that none leads around us.
    fn shard_node(&mut self, value: Value<'_>) -> Option<()> {
        let hosts = [b"endpoint".as_slice(), b"ip", b"hostname"].map(|name| field(value, name));
        let ports = [b"port".as_slice(), b"tls-port"].map(|name| field(value, name));
        let Some((host, port)) = self.node(hosts, ports) else {
            return self.copy(value);
        };
        self.each_field(value, |writer, name, value| match name {
            b"endpoint" | b"ip" => writer.put_host(value, host),
            b"hostname" => writer.put_host_unless_empty(value, host),
            b"port" | b"tls-port" => writer.put_port(value, port),
            _ => writer.copy(value),
        })
    }

    /// Where a node's clients belong: the first of its hosts that the map has with one of its ports.
    /// If none has, and the endpoint is left out, the node is where the upstream was found.
    fn node(
        &self,
        hosts: [Option<Value<'_>>; 3],
        ports: [Option<Value<'_>>; 2],
    ) -> Option<(&'m str, u16)> {
        let map = self.map;
        let unnamed = match hosts[0].map(|endpoint| endpoint.body) {
            Some(Body::Null) => true,
            Some(Body::Text(text)) => text.is_empty(),
            _ => false,
        };
        let named = hosts.into_iter().flatten().filter_map(Value::text);
        let named = named.filter(|host| !host.is_empty());
        let mut hosts = named.chain(unnamed.then_some(b"".as_slice()));
        hosts.find_map(|host| {
            let mut ports = ports.iter().flatten().filter_map(|port| port.port());
            ports.find_map(|port| map.find_bytes(host, port))
        })
    }

    /// The target of the address in two fields.
    fn in_fields(&self, value: Value<'_>, host: &[u8], port: &[u8]) -> Option<(&'m str, u16)> {
        let map = self.map;
        let host = field(value, host)?.text()?;
        if host.is_empty() {
            return None;
        }
        map.find_bytes(host, field(value, port)?.port()?)
    }

    // --- writing ---

    /// Writes the header of an aggregate, and gives what is in it.
    fn open<'v>(&mut self, value: Value<'v>) -> Option<Values<'v>> {
        let Body::Items(header, items) = value.body else {
            return None;
        };
        self.out.extend_from_slice(header);
        Some(items)
    }

    /// Writes an aggregate, each value in it by `write`.
    fn each<'v>(
        &mut self,
        value: Value<'v>,
        mut write: impl FnMut(&mut Self, Value<'v>) -> Option<()>,
    ) -> Option<()> {
        let mut items = self.open(value)?;
        while !items.is_empty() {
            write(self, items.take()?)?;
        }
        Some(())
    }

    /// Writes names and values, each value by `write`.
    fn each_field<'v>(
        &mut self,
        value: Value<'v>,
        mut write: impl FnMut(&mut Self, &'v [u8], Value<'v>) -> Option<()>,
    ) -> Option<()> {
        let mut items = self.open(value)?;
        while !items.is_empty() {
            let (name, value) = items.take_pair()?;
            self.copy(name)?;
            write(self, name.text()?, value)?;
        }
        Some(())
    }

    /// Writes an address that stands in two values.
    fn pair(&mut self, host: Value<'_>, port: Value<'_>) -> Option<()> {
        let map = self.map;
        let name = host.text().filter(|name| !name.is_empty());
        let target = name.zip(port.port());
        match target.and_then(|(name, port)| map.find_bytes(name, port)) {
            Some((to, to_port)) => {
                self.put_host(host, to)?;
                self.put_port(port, to_port)
            }
            None => {
                self.copy(host)?;
                self.copy(port)
            }
        }
    }

    /// Writes a text as `edit` makes it.
    fn put(
        &mut self,
        value: Value<'_>,
        text: &[u8],
        edit: fn(&[u8], &Addresses, &mut Vec<u8>) -> bool,
    ) -> Option<()> {
        self.text.clear();
        match edit(text, self.map, &mut self.text) {
            true => value.put_text(&self.text, self.out),
            false => return self.copy(value),
        }
        self.changed = true;
        Some(())
    }

    fn put_host(&mut self, value: Value<'_>, host: &str) -> Option<()> {
        value.put_text(host.as_bytes(), self.out);
        self.changed = true;
        Some(())
    }

    /// An empty one says that there is none, and clients take it so.
    fn put_host_unless_empty(&mut self, value: Value<'_>, host: &str) -> Option<()> {
        match value.text() {
            Some(b"") | None => self.copy(value),
            Some(_) => self.put_host(value, host),
        }
    }

    fn put_port(&mut self, value: Value<'_>, port: u16) -> Option<()> {
        value.put_port(port, self.out);
        self.changed = true;
        Some(())
    }

    /// Always `Some`, to end a match arm.
    fn copy(&mut self, value: Value<'_>) -> Option<()> {
        value.copy(self.out);
        Some(())
    }

    fn rest(&mut self, mut items: Values<'_>) -> Option<()> {
        while !items.is_empty() {
            self.copy(items.take()?)?;
        }
        Some(())
    }
}

/// The value of this name among names and values.
fn field<'a>(fields: Value<'a>, wanted: &[u8]) -> Option<Value<'a>> {
    let mut items = fields.items()?;
    while !items.is_empty() {
        let (name, value) = items.take_pair()?;
        if name.text() == Some(wanted) {
            return Some(value);
        }
    }
    None
}
