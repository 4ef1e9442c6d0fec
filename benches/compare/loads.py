"""The loads, and who drives them: our own generator, redis-benchmark, memtier_benchmark."""

import csv
import io
import json
import subprocess
import threading
from dataclasses import dataclass

from measure import Cpu, resident
from scene import Unmeasured


@dataclass(frozen=True)
class Column:
    key: str
    title: str
    short: str
    connections: int
    pipeline: int = 1
    size: int = 64
    gets: int = 1
    sets: int = 1
    keys: int = 10_000


COLUMNS = [
    Column("50", "50 clients", "50 cl", 50),
    Column("50-p16", "50 clients, pipeline 16", "50 P16", 50, pipeline=16),
    Column("8-p64", "8 clients, pipeline 64", "8 P64", 8, pipeline=64),
    Column("20-16k", "20 clients, 16 KB values", "20 16KB", 20, size=16 << 10, keys=1000),
    Column("500", "500 clients", "500 cl", 500),
]


class Loads:
    """Drives fronts of a scene, for so many seconds each."""

    def __init__(self, scene, seconds):
        self.scene, self.seconds, self.filled = scene, seconds, None

    def fill(self, size, keys):
        """Every key has a value of the size that is asked for, and there are no others."""
        if self.filled != (size, keys):
            self.scene.redis_says("FLUSHALL")
            self.own("fill", None, "--size", size, "--keys", keys).finish()
            self.filled = (size, keys)

    def own(self, mode, front, *options):
        """Starts our generator against a front (None: Redis' plain port)."""
        port = front.port if front else self.scene.plain_port
        command = [self.scene.load, mode, "--port", port, *options]
        if front and front.tls:
            cert = self.scene.cert
            command += ["--ca", cert("ca.pem"), "--cert", cert("bench.pem"), "--key", cert("bench.key")]
        return Generator([str(word) for word in command])

    def run(self, front, column, rate=None, window=None, seconds=None):
        """One measurement, by our generator."""
        self.fill(column.size, column.keys)
        seconds = seconds or self.seconds
        options = ["--connections", column.connections, "--pipeline", column.pipeline, "--size", column.size]
        options += ["--mix", f"{column.gets}:{column.sets}", "--keys", column.keys, "--seconds", seconds]
        options += ["--rate", rate] if rate else []
        options += ["--window", window] if window else []
        generator = self.own("run", front, *options)
        generator.expect("START")
        return self.sample(front, generator)

    def sample(self, front, generator):
        """Measures from now until the generator is done."""
        cpu, redis = Cpu(front.process.pid), Cpu(self.scene.redis.pid)
        report = generator.report()
        spent, redis_spent = cpu.spent(), redis.spent()
        generator.finish()
        operations = report["operations"]
        if report["errors"]:
            raise Unmeasured(f"{report['errors']} WRONG REPLIES from {front.label}: {report['first_error']}")
        if not operations:
            raise Unmeasured(f"{front.label} answers nothing")
        behind = front.process is self.scene.redis
        return {
            "rate": operations / report["seconds"],
            "p50": report["p50"],
            "p99": report["p99"],
            "front_cpu": 0.0 if behind else spent / operations * 1e6,
            "redis_cpu": redis_spent / operations * 1e6,
            "load_cpu": report.get("cpu", 0.0) / operations * 1e6,
            "resident": resident(front.process.pid),
            "resumed": report.get("resumed", 0) / operations,
        }

    def redis_benchmark(self, front, column, rate):
        """SET, then GET, each for about so long as ours took: (operations a second, p99 in µs)."""
        requests = max(1000, int(rate * self.seconds / 2))
        command = [self.scene.binaries["benchmark"]["path"], "-t", "set,get", "--csv", "-p", front.port, "-r", column.keys]
        command += ["-c", column.connections, "-P", column.pipeline, "-d", column.size, "-n", requests]
        if front.tls:
            cert = self.scene.cert
            command += ["--tls", "--cacert", cert("ca.pem"), "--cert", cert("bench.pem"), "--key", cert("bench.key")]
        done = finish([str(word) for word in command], 60 + 4 * self.seconds)
        rows = list(csv.DictReader(io.StringIO(done)))
        if len(rows) != 2:
            raise Unmeasured(f"redis-benchmark says: {done.strip()[-300:]}")
        rate = 2 / sum(1 / float(row["rps"]) for row in rows)
        return rate, max(float(row["p99_latency_ms"]) for row in rows) * 1000

    def memtier(self, program, front, column):
        """The same column by memtier_benchmark: (operations a second, p99 in µs)."""
        out = self.scene.folder / "memtier.json"
        command = [program, "-s", "127.0.0.1", "-p", front.port, "-t", 1, "-c", column.connections, "-d", column.size]
        command += ["--pipeline", column.pipeline, "--ratio", f"{column.sets}:{column.gets}", "--key-prefix", "key:"]
        command += ["--key-maximum", column.keys, "--test-time", max(1, round(self.seconds)), "--hide-histogram"]
        command += ["--json-out-file", out]
        if front.tls:
            cert = self.scene.cert
            command += ["--tls", "--cacert", cert("ca.pem"), "--cert", cert("bench.pem"), "--key", cert("bench.key")]
        finish([str(word) for word in command], 60 + 4 * self.seconds)
        totals = json.loads(out.read_text())["ALL STATS"]["Totals"]
        return totals["Ops/sec"], totals["Percentile Latencies"]["p99.00"] * 1000


class Generator:
    """Our generator at work. It prints lines; the last is its report."""

    # Longer than connecting 5,000 times and any measurement: a front that hangs must not hang the bench.
    LONGEST = 180

    def __init__(self, command):
        self.child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.timer = threading.Timer(self.LONGEST, self.child.kill)
        self.timer.start()

    def line(self):
        line = self.child.stdout.readline().strip()
        if not line:
            self.stop()
        return line

    def expect(self, word):
        line = self.line()
        if line != word:
            raise Unmeasured(f"the generator says {line!r} instead of {word}")

    def report(self):
        return json.loads(self.line())

    def finish(self):
        """Lets it end, which it does when its input ends."""
        self.child.communicate()
        self.timer.cancel()
        if self.child.returncode != 0:
            raise Unmeasured(f"the generator ended with {self.child.returncode}")

    def stop(self):
        """It ended before its time: says why."""
        self.child.kill()
        _, said = self.child.communicate()
        self.timer.cancel()
        raise Unmeasured(said.strip() or "the generator hung and was ended")


def finish(command, timeout):
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise Unmeasured(f"{command[0]} hung and was ended") from None
    if done.returncode != 0:
        raise Unmeasured(f"{command[0]} says: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout
