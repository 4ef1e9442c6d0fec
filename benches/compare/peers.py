"""The peers: how each is started with mutual TLS 1.3 in front of the one Redis.

All get the same P-256 certificates, must see one of ours from the client, and run with one or two
threads (or worker processes) where they have a choice. Timeouts are far beyond any measurement.
"""

import json
import os
import pathlib
import subprocess

from scene import free_port

# respgate's policy: categories, a key pattern, and an audit of what is refused.
USER = "user bench on nopass {patterns} +@read +@write +@fast -@dangerous +ping\n"


class Front:
    """One peer, running with so many threads (0: it has no choice)."""

    def __init__(self, peer, threads, process, port, tls=True):
        self.peer, self.threads, self.process, self.port, self.tls = peer, threads, process, port, tls

    @property
    def label(self):
        return f"{self.peer.label}, {self.threads} thread{'s' * (self.threads > 1)}" if self.threads else self.peer.label


class Peer:
    def __init__(self, key, label, start, binary=None, threads=(1, 2)):
        self.key, self.label, self.binary, self.threads = key, label, binary, threads
        self.starter = start

    def missing(self, scene):
        """Why it is left out, in words; None where it is there."""
        if self.binary and self.binary not in scene.binaries:
            return f"{self.label} is left out: {self.binary} can't be had here (fetch.py says why)"
        return None

    def start(self, scene, threads):
        return self.starter(self, scene, threads)

    def launch(self, scene, threads, port, command):
        return Front(self, threads, scene.start(self.key, command, port), port)


def write(scene, name, text):
    path = scene.folder / name
    path.write_text(text)
    return path


# === each of them ===


def redis_tls(peer, scene, threads):
    return Front(peer, threads, scene.redis, scene.tls_port)


def redis_plain(peer, scene, threads):
    return Front(peer, threads, scene.redis, scene.plain_port, tls=False)


def respgate_files(scene, port, workers, shared=True, patterns=("~key:*",), more_users=0):
    """Writes a configuration and its ACL file; returns the configuration's path."""
    others = "".join(f"user user{number} on nopass ~user{number}:* +@read +@write\n" for number in range(more_users))
    acl = write(scene, f"respgate-{port}.acl", others + USER.format(patterns=" ".join(patterns)))
    # Each connection takes two descriptors, and some are for the process itself.
    most = scene.connections(6000)
    connections = 'connections = "shared"' if shared else 'connections = "dedicated"'
    return write(
        scene,
        f"respgate-{port}.toml",
        f"""
[[listener]]
name = "main"
bind = ["127.0.0.1:{port}"]
max_connections = {most}
max_connections_per_ip = {most}
max_handshakes = {most}
max_handshakes_per_ip = {most}
[listener.tls]
cert = "{scene.cert("server.pem")}"
key = "{scene.cert("server.key")}"
client_ca = "{scene.cert("ca.pem")}"
[upstream.main]
address = "127.0.0.1:{scene.plain_port}"
{connections}
[[identity]]
match = {{ cn = "bench" }}
user = "bench"
[policy]
acl_files = ["{acl}"]
[runtime]
workers = {workers}
[audit]
path = "{scene.folder}/audit-{port}.jsonl"
decisions = "deny"
""",
    )


def respgate(peer, scene, threads, **policy):
    port = free_port()
    config = respgate_files(scene, port, threads, shared=peer.key == "respgate", **policy)
    return peer.launch(scene, threads, port, [scene.respgate, "run", "--config", config])


def envoy(peer, scene, threads):
    """Counts of connections are unlimited, as nobody else limits them so low (Envoy: 1,024 upstream).

    redis_proxy flushes at once, its default: with max_buffer_size_before_flush and a short
    buffer_flush_timeout its CPU for an operation is the same, and large values wait.
    """
    port = free_port()
    if peer.key == "envoy-redis":
        network = {
            "name": "envoy.filters.network.redis_proxy",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProxy",
                "stat_prefix": "redis",
                "settings": {"op_timeout": "30s"},
                "prefix_routes": {"catch_all_route": {"cluster": "redis"}},
            },
        }
    else:
        network = {
            "name": "envoy.filters.network.tcp_proxy",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                "stat_prefix": "tcp",
                "cluster": "redis",
            },
        }
    file = lambda name: {"filename": str(scene.cert(name))}
    tls = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": True,
        "common_tls_context": {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
            "tls_certificates": [{"certificate_chain": file("server.pem"), "private_key": file("server.key")}],
            "validation_context": {"trusted_ca": file("ca.pem")},
        },
    }
    address = lambda number: {"socket_address": {"address": "127.0.0.1", "port_value": number}}
    endpoint = {"endpoint": {"address": address(scene.plain_port)}}
    many = 1_000_000
    config = {
        "static_resources": {
            "listeners": [
                {
                    "name": "redis",
                    "address": address(port),
                    "filter_chains": [
                        {"filters": [network], "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls}}
                    ],
                }
            ],
            "clusters": [
                {
                    "name": "redis",
                    "type": "STATIC",
                    "connect_timeout": "5s",
                    "circuit_breakers": {
                        "thresholds": [{"max_connections": many, "max_pending_requests": many, "max_requests": many}]
                    },
                    "load_assignment": {"cluster_name": "redis", "endpoints": [{"lb_endpoints": [endpoint]}]},
                }
            ],
        }
    }
    path = write(scene, f"envoy-{port}.json", json.dumps(config, indent=1))
    command = [scene.binaries["envoy"]["path"], "-c", path, "--concurrency", threads, "--disable-hot-restart"]
    return peer.launch(scene, threads, port, command + ["--log-level", "warning"])


def haproxy(peer, scene, threads):
    port = free_port()
    path = write(
        scene,
        f"haproxy-{port}.cfg",
        f"""
global
    nbthread {threads}
    maxconn {scene.connections(6000)}
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen redis
    bind 127.0.0.1:{port} ssl crt {scene.cert("both.pem")} verify required ca-file {scene.cert("ca.pem")} ssl-min-ver TLSv1.3
    server redis 127.0.0.1:{scene.plain_port}
""",
    )
    return peer.launch(scene, threads, port, [scene.binaries["haproxy"]["path"], "-db", "-f", path])


def nginx(peer, scene, threads):
    port = free_port()
    binary = pathlib.Path(scene.binaries["nginx"]["path"])
    module = next(binary.parent.rglob("ngx_stream_module.so"))
    path = write(
        scene,
        f"nginx-{port}.conf",
        f"""
load_module {module};
daemon off;
worker_processes {threads};
pid {scene.folder}/nginx-{port}.pid;
error_log stderr warn;
events {{ worker_connections {scene.connections(8000) * 2}; }}
stream {{
    server {{
        listen 127.0.0.1:{port} ssl reuseport;
        ssl_protocols TLSv1.3;
        ssl_certificate {scene.cert("server.pem")};
        ssl_certificate_key {scene.cert("server.key")};
        ssl_client_certificate {scene.cert("ca.pem")};
        ssl_verify_client on;
        proxy_timeout 1h;
        proxy_pass 127.0.0.1:{scene.plain_port};
    }}
}}
""",
    )
    return peer.launch(scene, threads, port, [binary, "-c", path, "-p", scene.folder, "-e", "stderr"])


def stunnel(peer, scene, threads):
    """A thread for each connection: it has no other way."""
    port = free_port()
    path = write(
        scene,
        f"stunnel-{port}.conf",
        f"""
foreground = yes
pid =
debug = 3
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
[redis]
accept = 127.0.0.1:{port}
connect = 127.0.0.1:{scene.plain_port}
cert = {scene.cert("server.pem")}
key = {scene.cert("server.key")}
CAfile = {scene.cert("ca.pem")}
verifyChain = yes
requireCert = yes
sslVersionMin = TLSv1.3
TIMEOUTclose = 0
""",
    )
    return peer.launch(scene, threads, port, [scene.binaries["stunnel"]["path"], path])


def hitch(peer, scene, threads):
    port = free_port()
    # It refuses to work as root.
    user = 'user = "nobody"' if os.geteuid() == 0 else ""
    path = write(
        scene,
        f"hitch-{port}.conf",
        f"""
frontend = "[127.0.0.1]:{port}"
backend = "[127.0.0.1]:{scene.plain_port}"
pem-file = "{scene.cert("both.pem")}"
workers = {threads}
tls-protos = TLSv1.3
client-verify = required
client-verify-ca = "{scene.cert("ca.pem")}"
daemon = off
log-level = 1
{user}
""",
    )
    return peer.launch(scene, threads, port, [scene.binaries["hitch"]["path"], "--config", path])


# The first is what all others are a ratio of.
PEERS = [
    Peer("redis-tls", "Redis' own TLS", redis_tls, threads=(0,)),
    Peer("respgate", "respgate", respgate),
    Peer("respgate-dedicated", "respgate, dedicated", respgate),
    Peer("envoy-redis", "Envoy redis_proxy", envoy, "envoy"),
    Peer("envoy-tcp", "Envoy tcp_proxy", envoy, "envoy"),
    Peer("haproxy", "HAProxy", haproxy, "haproxy"),
    Peer("nginx", "nginx stream", nginx, "nginx"),
    Peer("stunnel", "stunnel", stunnel, "stunnel", threads=(0,)),
    Peer("hitch", "hitch", hitch, "hitch"),
    Peer("redis-plain", "plain Redis, no TLS", redis_plain, threads=(0,)),
]
BY_KEY = {peer.key: peer for peer in PEERS}
