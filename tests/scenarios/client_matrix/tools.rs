//! What people do with redis-cli and redis-benchmark.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use super::in_process::{self, Check, Outcome, Unmet};
use super::{Place, Seen};
use crate::support::cli::Outcome as Run;
use crate::support::redis::fetched;
use crate::support::{Reply, eventually};

/// How a tool is called: by the proxy or directly.
struct Tool<'a> {
    place: &'a Place,
    direct: bool,
    program: &'static str,
    protocol: u8,
}

pub fn redis_cli(place: &Place, protocol: u8) -> Seen {
    let checks: &[Check<Tool<'_>>] = &[
        ("resp3", resp3),
        ("commands", commands),
        ("refusals", refusals),
        ("mass insertion", mass_insertion),
        ("scan", scan),
        ("big keys", big_keys),
        ("last argument from stdin", last_argument),
        ("script", script),
        ("stat", stat),
        ("monitor", monitor),
        ("subscribe", subscribe),
        ("dump", dump),
        ("replica", replica),
    ];
    run("redis-cli", "cli", checks, place, protocol)
}

pub fn redis_benchmark(place: &Place, protocol: u8) -> Seen {
    run(
        "redis-benchmark",
        "benchmark",
        &[("all tests", all_tests)],
        place,
        protocol,
    )
}

fn run<'a>(
    title: &str,
    program: &'static str,
    checks: &[Check<Tool<'a>>],
    place: &'a Place,
    protocol: u8,
) -> Seen {
    let tool = |direct| Tool::<'a> {
        place,
        direct,
        program,
        protocol,
    };
    let mut seen = Seen {
        // Any version will do that knows TLS.
        library: title.to_owned(),
        ..Seen::default()
    };
    in_process::run_into(&mut seen, checks, &tool(false), &tool(true));
    seen
}

// === impl Tool ===

impl Tool<'_> {
    fn command(&self, name: &str, args: &[&str]) -> Command {
        let mut command = Command::new(fetched(self.program));
        if self.direct {
            let upstream = self.place.upstream();
            let (host, port) = upstream.split_once(':').unwrap();
            command.args(["-h", host, "-p", port]);
        } else {
            let certs = self.place.proxy.certs();
            let port = self.place.proxy.port().to_string();
            command
                .args(["-h", "localhost", "-p", &port, "--tls", "--cacert"])
                .arg(certs.file("ca.pem"))
                .arg("--cert")
                .arg(certs.file(&format!("{name}.pem")))
                .arg("--key")
                .arg(certs.file(&format!("{name}.key")));
        }
        if self.protocol == 3 {
            command.arg("-3");
        }
        command
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Some ways of use give up where the server has no RESP3, others go on in RESP2.
    fn try_run(&self, name: &str, args: &[&str], input: &[u8]) -> Result<Run, Unmet> {
        let run = self.run(name, args, input);
        if run.stdout.is_empty() && run.stderr.starts_with("HELLO 3 failed") {
            return Err(Unmet::Error(run.stderr.trim().to_owned()));
        }
        Ok(run)
    }

    fn run(&self, name: &str, args: &[&str], input: &[u8]) -> Run {
        let mut child = self.command(name, args).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // The output of a long input would fill its pipe.
        let writer = std::thread::spawn(move || {
            let _ = stdin.write_all(&input);
        });
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        Run {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn upstream(&self, args: &[&str]) -> Reply {
        self.place.server.lock().unwrap().direct().call(args)
    }

    /// Runs a tool that doesn't end by itself, until one of its lines is enough.
    #[track_caller]
    fn watch(&self, name: &str, args: &[&str], mut enough: impl FnMut(&str) -> bool) -> Outcome {
        let mut child = self.command(name, args).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let found = lines.any(|line| enough(&line.unwrap()));
        let _ = child.kill();
        let mut errors = String::new();
        let _ = child.stderr.take().unwrap().read_to_string(&mut errors);
        let _ = child.wait();
        if !found && errors.starts_with("HELLO 3 failed") {
            return Err(Unmet::Error(errors.trim().to_owned()));
        }
        assert!(found, "{args:?}: {errors}");
        Ok(())
    }
}

// === redis-cli ===

fn resp3(tool: &Tool<'_>) -> Outcome {
    if tool.protocol != 3 {
        return Err(Unmet::NotHere);
    }
    let run = tool.try_run("cart", &["PING"], b"")?;
    if !run.stderr.is_empty() {
        return Err(Unmet::Error(run.stderr.trim().to_owned()));
    }
    let run = tool.try_run("cart", &["--no-raw", "HSET", "cart:h3", "f", "v"], b"")?;
    assert_eq!(run.stdout, "(integer) 1\n", "{run:#?}");
    let run = tool.try_run("cart", &["--no-raw", "HGETALL", "cart:h3"], b"")?;
    assert_eq!(run.stdout, "1# \"f\" => \"v\"\n", "{run:#?}");
    Ok(())
}

fn commands(tool: &Tool<'_>) -> Outcome {
    let input = b"SET cart:1 a\nGET cart:1\nMULTI\nINCR cart:n\nINCR cart:n\nEXEC\nGET cart:none\n";
    let run = tool.try_run("cart", &[], input)?;
    assert_eq!(
        run.stdout, "OK\na\nOK\nQUEUED\nQUEUED\n1\n2\n\n",
        "{run:#?}"
    );
    let run = tool.try_run("cart", &["-n", "3", "-r", "3", "INCR", "cart:n"], b"")?;
    assert_eq!(run.stdout, "1\n2\n3\n", "{run:#?}");
    Ok(())
}

fn refusals(tool: &Tool<'_>) -> Outcome {
    let run = tool.try_run("cart", &[], b"FLUSHALL\nGET other\nPING\n")?;
    let expected = "NOPERM User cart has no permissions to run the 'flushall' command\n\n\
                    NOPERM No permissions to access a key\n\nPONG\n";
    assert_eq!(run.stdout, expected, "{run:#?}");
    Ok(())
}

fn mass_insertion(tool: &Tool<'_>) -> Outcome {
    let lines: String = (0..20_000)
        .map(|i| format!("*3\r\n$3\r\nSET\r\n$11\r\ncart:m{i:05}\r\n$5\r\n{i:05}\r\n"))
        .collect();
    let run = tool.try_run("cart", &["--pipe"], lines.as_bytes())?;
    assert!(
        run.stdout.ends_with("errors: 0, replies: 20000\n"),
        "{run:#?}"
    );
    assert_eq!(tool.upstream(&["GET", "cart:m19999"]), Reply::bulk("19999"));
    let run = tool.try_run("cart", &["--pipe"], b"SET cart:n x\r\nSET other x\r\n")?;
    assert!(run.stdout.ends_with("errors: 1, replies: 2\n"), "{run:#?}");
    Ok(())
}

fn scan(tool: &Tool<'_>) -> Outcome {
    let run = tool.try_run("cart", &["--scan", "--pattern", "cart:m*"], b"")?;
    assert_eq!(run.stdout.lines().count(), 20_000);
    Ok(())
}

fn big_keys(tool: &Tool<'_>) -> Outcome {
    tool.upstream(&["FLUSHALL"]);
    tool.upstream(&["RPUSH", "cart:list", "a", "b"]);
    tool.upstream(&["SET", "cart:s", "value"]);
    for mode in ["--bigkeys", "--memkeys"] {
        let run = tool.try_run("cart", &[mode], b"")?.expect_code(0);
        assert!(run.stdout.contains("Sampled 2 keys"), "{run:#?}");
    }
    Ok(())
}

fn last_argument(tool: &Tool<'_>) -> Outcome {
    let run = tool.try_run("cart", &["-x", "SET", "cart:x"], b"a\r\nb\0c")?;
    assert_eq!(run.stdout, "OK\n", "{run:#?}");
    assert_eq!(tool.upstream(&["GET", "cart:x"]), Reply::bulk("a\r\nb\0c"));
    Ok(())
}

fn script(tool: &Tool<'_>) -> Outcome {
    let file = tool.place.proxy.directory().join("double.lua");
    std::fs::write(&file, "return redis.call('INCRBY', KEYS[1], ARGV[1]) * 2").unwrap();
    tool.upstream(&["DEL", "cart:script"]);
    let file = file.display().to_string();
    let run = tool.try_run("cart", &["--eval", &file, "cart:script", ",", "5"], b"")?;
    assert_eq!(run.stdout, "10\n", "{run:#?}");
    Ok(())
}

fn stat(tool: &Tool<'_>) -> Outcome {
    let mut lines = 0;
    // Its output comes by the block, so it has to hurry.
    tool.watch("admin", &["--stat", "-i", "0.005"], |line| {
        lines += 1;
        lines > 20 && line.contains(" (+1)")
    })
}

fn monitor(tool: &Tool<'_>) -> Outcome {
    tool.watch("admin", &["MONITOR"], |line| {
        if line == "OK" {
            let run = tool.run("cart", &["SET", "cart:watched", "m"], b"");
            assert_eq!(run.stdout, "OK\n", "{run:#?}");
        }
        line.ends_with("\"SET\" \"cart:watched\" \"m\"")
    })
}

fn subscribe(tool: &Tool<'_>) -> Outcome {
    let mut lines = Vec::new();
    tool.watch("cart", &["SUBSCRIBE", "cart:news"], |line| {
        lines.push(line.to_owned());
        // The last line of the confirmation.
        if lines.len() == 3 {
            let run = tool.run("cart", &["PUBLISH", "cart:news", "hello"], b"");
            assert_eq!(run.stdout, "1\n", "{run:#?}");
        }
        line.contains("hello")
    })
}

fn dump(tool: &Tool<'_>) -> Outcome {
    // It waits 5 seconds for more replicas to come.
    tool.upstream(&["CONFIG", "SET", "repl-diskless-sync-delay", "0"]);
    let file = tool.place.proxy.directory().join("dump.rdb");
    let run = tool.try_run("admin", &["--rdb", &file.display().to_string()], b"")?;
    let run = run.expect_code(0);
    let content = std::fs::read(&file).unwrap();
    assert!(content.starts_with(b"REDIS0"), "{run:#?}");
    assert!(content.windows(6).any(|part| part == b"cart:s"), "{run:#?}");
    let run = tool.try_run("cart", &["--rdb", "/dev/null"], b"")?;
    assert_ne!(run.code, Some(0), "{run:#?}");
    Ok(())
}

fn replica(tool: &Tool<'_>) -> Outcome {
    let mut child = tool.command("admin", &["--replica"]).spawn().unwrap();
    eventually("a replica is there, or the tool has given up", || {
        child.try_wait().unwrap().is_some()
            || tool
                .upstream(&["INFO", "replication"])
                .text()
                .contains("state=online")
    });
    let gave_up = child.try_wait().unwrap().is_some();
    let _ = child.kill();
    let output = child.wait_with_output().unwrap();
    if gave_up {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(Unmet::Error(errors.trim().to_owned()));
    }
    Ok(())
}

// === redis-benchmark ===

fn all_tests(tool: &Tool<'_>) -> Outcome {
    let run = tool.try_run(
        "admin",
        &["-n", "1000", "-P", "16", "-r", "1000", "-q"],
        b"",
    )?;
    if run.code != Some(0) || run.text().contains("rror") {
        let text = run.text();
        // It stands behind a line of progress that is written again and again.
        let error = text.find("Error").map_or(&*text, |at| &text[at..]);
        let line = error.lines().next().unwrap_or_default();
        return Err(Unmet::Error(line.to_owned()));
    }
    for test in ["SET: ", "LRANGE_600", "ZPOPMIN", "MSET (10 keys): "] {
        assert!(run.stdout.contains(test), "{run:#?}");
    }
    Ok(())
}
