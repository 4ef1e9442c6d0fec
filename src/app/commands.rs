//! The command table of this configuration (Redis' own, what the file declares, what the upstreams
//! teach), and the names and users compiled against it.

use crate::command::{Command, NameError, Table, TableError, merge};
use crate::config::Config;
use crate::policy::{self, Policy};
use crate::proxy::{Connector, PolicyText, UpstreamError, ask};
use crate::rewrite::{Names, RewriteError};
use crate::session::Facts;

use super::acl_files::AclFiles;

/// Whom to ask for commands that the files name and the table lacks.
#[derive(Clone, Debug)]
pub enum Teachers {
    /// Nobody: what isn't declared is unknown.
    Nobody,
    /// The upstreams, each over a connection of its own.
    Upstreams,
    /// The same, if what they have taught already isn't enough.
    Running(Vec<Command>),
}

/// Names and users under one table; `None` where something is wrong with them, which is then told.
pub(super) struct Compiled {
    pub(super) table: Table,
    pub(super) names: Option<Names>,
    pub(super) policy: Option<Policy>,
}

/// Compiles `[rewrite]` and the ACL files. If they name commands that the table lacks, `teachers`
/// are asked for them before the files are refused.
pub(super) fn compile(
    config: &Config,
    files: &AclFiles,
    text: PolicyText,
    teachers: Teachers,
    upstreams: &[Connector],
    problems: &mut Vec<String>,
    warnings: &mut Vec<String>,
) -> Compiled {
    let mut table = Table::builtin();
    declare(config, &mut table, problems);
    if let Teachers::Running(taught) = &teachers {
        match table.taught(taught.iter().cloned()) {
            Ok(taught) => table = taught,
            Err(error) => problems.push(format!("what the upstreams teach can't be used: {error}")),
        }
    }
    let mut attempt = Attempt::new(config, files, &text, &table);
    let mut notes = Vec::new();
    if attempt.lacks_commands() {
        match teachers {
            // What is wrong may be the upstreams' own settings.
            Teachers::Upstreams | Teachers::Running(_) if problems.is_empty() => {
                let (learned, failed) = learn_from(upstreams, &table);
                notes = failed;
                match table.taught(learned) {
                    Ok(taught) => table = taught,
                    Err(error) => {
                        notes.push(format!("what the upstreams teach can't be used: {error}"));
                    }
                }
                attempt = Attempt::new(config, files, &text, &table);
            }
            _ => notes.push(
                "commands that the table lacks are declared in policy.extra_commands; 'run' and \
                 'check --upstream' also learn them from the upstreams that have them"
                    .to_owned(),
            ),
        }
    }
    if !attempt.lacks_commands() {
        notes.clear();
    }
    let file = config.path.display();
    let names = attempt.names.map_err(|errors| {
        problems.extend(errors.iter().map(|error| format!("{file}: {error}")));
    });
    let policy = files.accept(text, attempt.policy, problems, warnings);
    problems.extend(notes);
    Compiled {
        table,
        names: names.ok(),
        policy,
    }
}

/// Names and users under one table, or what is wrong with them.
struct Attempt {
    names: Result<Names, Vec<RewriteError>>,
    policy: Result<(Policy, Vec<policy::Problem>), Vec<policy::Problem>>,
}

// === impl Attempt ===

impl Attempt {
    fn new(config: &Config, files: &AclFiles, text: &PolicyText, table: &Table) -> Self {
        Self {
            names: Names::compile(table, &config.rename, &config.substitute),
            policy: files.parse(text, table),
        }
    }

    /// Whether the files name a command that isn't in the table.
    fn lacks_commands(&self) -> bool {
        let in_rewrite =
            |error: &RewriteError| matches!(error, RewriteError::UnknownCommand { .. });
        let names = self.names.as_ref().err();
        let policy = self.policy.as_ref().err();
        names.is_some_and(|errors| errors.iter().any(in_rewrite))
            || policy.is_some_and(|wrong| wrong.iter().any(|problem| problem.unknown_command))
    }
}

/// Adds what `policy.extra_commands` declares. Each command by itself, so that all that can't be is
/// told.
fn declare(config: &Config, table: &mut Table, problems: &mut Vec<String>) {
    for command in &config.extra_commands {
        let name = command.name.clone();
        let Err(error) = table.extend([command.clone()]) else {
            continue;
        };
        let reason = match error {
            TableError::Name(NameError::Duplicate(_)) => {
                "the table has this command already, and knows it better".to_owned()
            }
            TableError::NoContainer(_) => {
                "its container is unknown: declare that, too, or mend the name".to_owned()
            }
            error => error.to_string(),
        };
        let file = config.path.display();
        problems.push(format!("{file}: policy.extra_commands.{name}: {reason}"));
    }
}

/// What the upstreams have and `table` lacks; and a line for each that couldn't be asked.
fn learn_from(upstreams: &[Connector], table: &Table) -> (Vec<Command>, Vec<String>) {
    let mut taught = Vec::new();
    let mut failed = Vec::new();
    for connector in upstreams {
        let settings = connector.settings();
        match ask_one(connector, table) {
            Ok(facts) => taught.push(facts.learned.commands),
            Err(error) => failed.push(format!(
                "upstream.{} ({}) can't be asked for commands that the table lacks: {error}. Start it \
                 first, or declare them in policy.extra_commands",
                settings.name,
                settings.shown_addresses()
            )),
        }
    }
    (merge(taught), failed)
}

/// Before the proxy runs, so on a runtime of its own.
fn ask_one(connector: &Connector, table: &Table) -> Result<Facts, UpstreamError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(ask(connector, table))
}
