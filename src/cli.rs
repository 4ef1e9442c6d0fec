//! The command line: what the program is asked to do, and with which exit code it ends.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::admin;
use crate::app::{self, AppError, Prepared, Teachers};
use crate::config::{self, Bind};
use crate::demo;
use crate::policy::{PasswordHash, Whereabouts, explain};
use crate::resp::OwnedArgs;
use crate::session::{Foresight, Own, foresee};
use crate::tls::authority::make_certificates;

/// A TLS-terminating, authenticating Redis proxy that enforces Redis ACLs in front of any Redis.
#[derive(Debug, Parser)]
#[command(name = "respgate", version, about, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve.
    Run {
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
    },
    /// Validate configuration, ACL files and certificates, and list everything that is wrong.
    Check {
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
        /// Ask the upstreams too: version, renamed commands, whether they are open by themselves.
        #[arg(long)]
        upstream: bool,
    },
    /// Say what would be decided on one command, and why. Exit code 0: allow, 1: deny.
    Explain {
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
        /// The user of an ACL file.
        #[arg(long)]
        user: String,
        /// The command and its arguments.
        #[arg(required = true, trailing_var_arg = true)]
        command: Vec<OsString>,
    },
    /// Ask a respgate that runs whether it is ready. Exit code 0: yes, 1: no.
    Healthcheck {
        /// Its configuration file: it is asked at admin.probe, or else at admin.bind.
        #[arg(long, required_unless_present = "address")]
        config: Option<PathBuf>,
        /// Where it is asked, whatever the file says by now: an address and port, or "unix:/path".
        #[arg(long, conflicts_with = "config")]
        address: Option<Bind>,
        /// Only whether it is alive, whatever its upstreams do.
        #[arg(long)]
        live: bool,
    },
    /// Start a throwaway Redis and the proxy, and show what it does.
    Demo {
        /// End after the tour.
        #[arg(long)]
        once: bool,
    },
    /// Make a development CA, server and client certificates. Never overwrites a CA.
    Certs {
        /// The folder that they are written to.
        #[arg(long)]
        out: PathBuf,
        /// A client's name; may be given several times.
        #[arg(long = "client", value_name = "NAME")]
        clients: Vec<String>,
        /// A name or address of the server; may be given several times. Default: loopback.
        #[arg(long = "server-name", value_name = "NAME")]
        server_names: Vec<String>,
    },
    /// Read a password from stdin and print its #sha256 form for an ACL file.
    HashPassword,
}

/// Wrong usage (`EX_USAGE`).
const USAGE: u8 = 64;
/// Bad configuration (`EX_CONFIG`).
const CONFIG: u8 = 78;

/// Does what the command line asks for.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // --help and --version arrive here too, as errors that are none.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    let result = match arguments.command {
        Command::Run { config } => run(&config).map(|()| 0),
        Command::Check { config, upstream } => check(&config, upstream),
        Command::Explain {
            config,
            user,
            command,
        } => explain_one(&config, &user, &command),
        Command::Healthcheck {
            config,
            address,
            live,
        } => match address {
            Some(address) => Ok(healthcheck(&address, live)),
            None => admin_address(&config.unwrap_or_default())
                .map(|address| healthcheck(&address, live)),
        },
        Command::Demo { once } => demo::run(once)
            .map(|()| 0)
            .map_err(|error| AppError::Start(vec![error.to_string()])),
        Command::Certs {
            out,
            clients,
            server_names,
        } => certs(&out, &clients, &server_names),
        Command::HashPassword => hash_password(),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(match error {
                AppError::Configuration(_) => CONFIG,
                AppError::Start(_) => 1,
            })
        }
    }
}

fn run(path: &std::path::Path) -> Result<(), AppError> {
    app::put_off_reloads().map_err(|error| AppError::Start(vec![error.to_string()]))?;
    let environment: Vec<_> = config::environment().collect();
    let variables = environment.iter().cloned();
    app::run(
        app::prepare(path, variables, Teachers::Upstreams, None)?,
        environment,
    )
}

fn prepare(path: &std::path::Path, teachers: Teachers) -> Result<Prepared, AppError> {
    app::prepare(path, config::environment(), teachers, None)
}

fn check(path: &std::path::Path, upstream: bool) -> Result<u8, AppError> {
    let teachers = match upstream {
        true => Teachers::Upstreams,
        false => Teachers::Nobody,
    };
    let prepared = prepare(path, teachers)?;
    for warning in &prepared.warnings {
        complain(&format!("warning: {warning}"));
    }
    let mut wrong = false;
    if upstream {
        let (lines, bad) = app::check_upstreams(&prepared)?;
        lines.iter().for_each(|line| say(line));
        wrong = bad;
    }
    if wrong {
        return Ok(1);
    }
    say(&format!("{}: in order", path.display()));
    Ok(0)
}

fn explain_one(path: &std::path::Path, user: &str, command: &[OsString]) -> Result<u8, AppError> {
    let prepared = prepare(path, Teachers::Nobody)?;
    let args: OwnedArgs = command
        .iter()
        .map(|word| std::os::unix::ffi::OsStrExt::as_bytes(word.as_os_str()))
        .collect();
    let args = args.as_args();
    let Foresight {
        refusal,
        shadow,
        command,
        judged,
        own,
    } = match foresee(&prepared.rules, user, &args) {
        Ok(foresight) => foresight,
        Err(error) => {
            complain(&format!("user \"{user}\": {error}"));
            return Ok(USAGE);
        }
    };
    let table = prepared.rules.table();
    say(if refusal.is_some() { "deny" } else { "allow" });
    say(&format!("user:    {user}"));
    say(&format!("command: {command}"));
    if own == Some(Own::Unjudged) {
        say("rule:    none: the proxy answers it itself");
    }
    if let (Some(user), Some(id)) = (prepared.rules.policy().user(user), judged)
        && own != Some(Own::Unjudged)
    {
        let run = &table.command(id).name;
        if **run != *command {
            say(&format!("runs:    {run}"));
        }
        // Of a substitute with arguments, what Redis will run is judged.
        let entry = prepared.rules.names().find(args.name());
        let judged = entry.and_then(|entry| entry.judged(&args)).unwrap_or(args);
        let told = explain(user, id, &judged, Whereabouts::START, table);
        say(&format!("rule:    {}", told.rule));
        for name in &told.names {
            say(&format!("key:     {}", String::from_utf8_lossy(name)));
        }
        if let Some(offender) = &told.offender {
            say(&format!("refused: {}", String::from_utf8_lossy(offender)));
        }
    }
    match refusal {
        None => Ok(0),
        Some(refusal) => {
            say(&format!("reason:  {}", refusal.label()));
            if shadow {
                say("shadow:  the policy is only tried on this user: forwarded all the same");
            }
            Ok(1)
        }
    }
}

/// What else may be wrong with the file by now is no news of the process that runs.
fn admin_address(path: &std::path::Path) -> Result<Bind, AppError> {
    let config = match config::load(path, config::environment()) {
        Ok(loaded) => loaded.config,
        Err(error) => match error.partial {
            Some(partial) => *partial,
            None => {
                let problems = error.problems.0.iter().map(ToString::to_string);
                return Err(AppError::Configuration(problems.collect()));
            }
        },
    };
    let admin = config.admin;
    admin.probe.or(admin.bind).ok_or_else(|| {
        let problem = "admin: there is nobody to ask: set admin.probe or admin.bind";
        let problem = format!("{}: {problem}", path.display());
        AppError::Configuration(vec![problem])
    })
}

fn healthcheck(address: &Bind, live: bool) -> u8 {
    match admin::ask_health(address, live) {
        Ok(text) => {
            say(&text);
            0
        }
        Err(reason) => {
            complain(&reason);
            1
        }
    }
}

fn certs(
    out: &std::path::Path,
    clients: &[String],
    server_names: &[String],
) -> Result<u8, AppError> {
    let report = make_certificates(out, clients, server_names)
        .map_err(|error| AppError::Start(vec![error.to_string()]))?;
    report
        .written
        .iter()
        .for_each(|path| say(&format!("wrote {}", path.display())));
    report
        .kept
        .iter()
        .for_each(|path| say(&format!("kept  {}", path.display())));
    for (path, reason) in &report.stale {
        complain(&format!("warning: {}: {reason}", path.display()));
    }
    Ok(0)
}

fn hash_password() -> Result<u8, AppError> {
    let mut password = Vec::new();
    io::stdin()
        .read_to_end(&mut password)
        .map_err(|error| AppError::Start(vec![format!("can't read the password: {error}")]))?;
    // One line end belongs to the terminal or the file, not to the password.
    let password = password.strip_suffix(b"\n").unwrap_or(&password);
    let password = password.strip_suffix(b"\r").unwrap_or(password);
    if password.is_empty() {
        return Err(AppError::Start(vec!["the password is empty".to_owned()]));
    }
    say(&format!("#{}", PasswordHash::of(password)));
    Ok(0)
}

/// A line on stdout: what was asked for.
fn say(line: &str) {
    // Nobody reads it any more: then nothing is to be said.
    let _ = writeln!(io::stdout(), "{line}");
}

/// A line on stderr: what is wrong.
fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
