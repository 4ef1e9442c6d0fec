"""What all measurements share: binaries, certificates, the one Redis, a folder, and what was started."""

import json
import os
import pathlib
import re
import resource
import shutil
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve()
# A process of ours that isn't up by then never will be. (Envoy takes a second on a busy machine.)
START_SECONDS = 20


class Unmeasured(Exception):
    """Something could not be measured; the text says why."""


class Process:
    """A server that was started here, with what it prints in a file."""

    def __init__(self, name, command, log):
        self.name, self.log = name, log
        with open(log, "wb") as out:
            self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)

    @property
    def pid(self):
        return self.child.pid

    def wait_for(self, port):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.child.poll() is not None:
                raise Unmeasured(f"{self.name} ended with {self.child.returncode}: {self.tail()}")
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise Unmeasured(f"{self.name} does not listen on {port}: {self.tail()}")

    def tail(self):
        return " | ".join(self.log.read_text(errors="replace").strip().splitlines()[-4:]) or "it said nothing"

    def stop(self):
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(5)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()


class Scene:
    def __init__(self):
        servers = pathlib.Path(os.environ.get("RESPGATE_SERVERS") or TARGET / "servers") / "servers.json"
        self.binaries = json.loads(servers.read_text()) if servers.exists() else {}
        for needed in ("7.0.15", "benchmark"):
            if needed not in self.binaries:
                raise Unmeasured(f"{needed} is missing: run make bench, which fetches it")
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="respgate-bench-"))
        # Servers that give up root must still reach their files.
        self.folder.chmod(0o755)
        self.processes = []

    def open(self):
        """Builds, makes certificates and starts Redis. `close` undoes what there is of it."""
        self.respgate, self.load = self.build()
        # 5,000 connections through a proxy are 10,000 descriptors.
        _, self.descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.descriptors, self.descriptors))
        self.certs = self.folder / "certs"
        command = [str(self.respgate), "certs", "--client", "bench", "--out", str(self.certs)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        # HAProxy and hitch want both in one file.
        both = self.cert("server.pem").read_bytes() + self.cert("server.key").read_bytes()
        self.cert("both.pem").write_bytes(both)
        self.plain_port, self.tls_port = free_port(), free_port()
        self.redis = self.start("redis", self.redis_command(self.plain_port, self.tls_port), self.plain_port)

    def build(self):
        """respgate and the load generator, as `cargo bench` builds them: (path, path)."""
        cargo = os.environ.get("CARGO", "cargo")
        command = [cargo, "bench", "--locked", "--no-run", "--bench", "load", "--message-format=json-render-diagnostics"]
        done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise Unmeasured("the load generator can't be built")
        found = {}
        for line in done.stdout.splitlines():
            message = json.loads(line)
            if message.get("reason") == "compiler-artifact" and message.get("executable"):
                found[message["target"]["name"]] = pathlib.Path(message["executable"])
        return found["respgate"], found["load"]

    def redis_command(self, plain_port, tls_port):
        command = [self.binaries["7.0.15"]["path"], "--port", str(plain_port), "--tls-port", str(tls_port)]
        command += ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--tls-auth-clients", "yes"]
        command += ["--tls-cert-file", str(self.cert("server.pem")), "--tls-key-file", str(self.cert("server.key"))]
        command += ["--tls-ca-cert-file", str(self.cert("ca.pem")), "--dir", str(self.folder)]
        # Redis wants some descriptors for itself; a few thousand are enough for all loads.
        return command + ["--maxclients", str(min(12000, self.descriptors - 1000))]

    def another_redis(self):
        """(process, TLS port)"""
        plain_port, tls_port = free_port(), free_port()
        return self.start("redis", self.redis_command(plain_port, tls_port), plain_port), tls_port

    def cert(self, name):
        return self.certs / name

    def start(self, name, command, port):
        log = self.folder / f"{name}-{port}.log"
        process = Process(name, [str(word) for word in command], log)
        self.processes.append(process)
        process.wait_for(port)
        return process

    def connections(self, wanted):
        """So many of these connections as fit: each takes two descriptors of a proxy."""
        return min(wanted, (self.descriptors - 500) // 2)

    def redis_says(self, *words):
        """What the plain port answers, for the little that is asked of it."""
        request = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in words)
        with socket.create_connection(("127.0.0.1", self.plain_port), timeout=30) as link:
            link.sendall(request)
            return link.recv(65536)

    def used_memory(self):
        """Bytes that the Redis itself says it uses: what it gave back stays in its RSS."""
        return int(re.search(rb"used_memory:(\d+)", self.redis_says("INFO", "memory")).group(1))

    def close(self):
        for process in reversed(self.processes):
            process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
