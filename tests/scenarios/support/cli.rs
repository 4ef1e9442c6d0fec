//! Programs that people use: respgate's own subcommands, redis-cli, Python scripts.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use super::Proxy;
use super::redis::fetched;

/// What a program said and how it ended.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// Both streams.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }
}

/// Runs respgate with these arguments.
#[track_caller]
pub fn respgate(args: &[&str]) -> Outcome {
    respgate_with_input(args, "")
}

#[track_caller]
pub fn respgate_with_input(args: &[&str], input: &str) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_respgate"));
    command.args(args).env("NO_COLOR", "1");
    run(command, input)
}

/// Runs redis-cli against the proxy with the certificate of `name`; its commands come by stdin.
#[track_caller]
pub fn redis_cli(proxy: &Proxy, name: &str, extra: &[&str], input: &str) -> Outcome {
    let certs = proxy.certs();
    let mut command = Command::new(fetched("cli"));
    command
        .args([
            "-h",
            "localhost",
            "-p",
            &proxy.port().to_string(),
            "--tls",
            "--no-auth-warning",
        ])
        .arg("--cacert")
        .arg(certs.file("ca.pem"))
        .arg("--cert")
        .arg(certs.file(&format!("{name}.pem")))
        .arg("--key")
        .arg(certs.file(&format!("{name}.key")))
        .args(extra);
    run(command, input)
}

/// Runs `tests/clients/NAME` in the virtual environment; it is told port, certificates and `extra`.
#[track_caller]
pub fn python(proxy: &Proxy, script: &str, extra: &[&str]) -> Outcome {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(script);
    let mut command = Command::new(fetched("python"));
    command
        .arg(path)
        .arg(proxy.port().to_string())
        .arg(proxy.certs().dir())
        .args(extra);
    run(command, "")
}

#[track_caller]
fn run(mut command: Command, input: &str) -> Outcome {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    // A program that does not read its input has closed it: no fault.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
