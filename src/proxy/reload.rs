//! The ACL files read anew, while sessions go on.

use std::collections::HashMap;
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::PoisonError;

use crate::policy::{Policy, Source};
use crate::session::Rules;
use crate::telemetry::Event;

use super::keeper::Reloaded;
use super::service::Service;

/// Where the users come from.
pub trait PolicyFiles: Debug + Send + Sync {
    /// Reads all of it, as far as it can be read.
    fn read(&self) -> PolicyText;

    /// Compiles it, and checks that it fits the rest of the configuration.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    fn compile(&self, text: PolicyText, rules: &Rules) -> Result<Compiled, Vec<String>>;

    /// Replaces the content of these files, each at once: all of them, or none.
    ///
    /// # Errors
    /// Why it can't be done.
    fn write(&self, files: &[Source]) -> Result<(), String>;
}

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct PolicyText {
    /// In order.
    pub sources: Vec<Source>,
    /// The scripts that they name, by path; or why one can't be used.
    pub scripts: HashMap<PathBuf, Result<Vec<u8>, String>>,
    /// What can't be read, and why.
    pub unreadable: Vec<String>,
}

/// A policy that may be put in force.
#[derive(Debug)]
pub struct Compiled {
    /// The users.
    pub policy: Policy,
    /// What is no reason not to, and should be looked at.
    pub warnings: Vec<String>,
}

// === impl Service ===

impl Service {
    /// Reads the ACL files anew and puts them in force whole, or not at all. Reads files, so it
    /// may take its time; sessions go on meanwhile.
    ///
    /// Where the files say what they said before, nothing happens, unless `force`d: then at least
    /// the run-time changes go. What was done is logged and audited here.
    ///
    /// # Errors
    /// Everything that is wrong; then the old policy stays in force.
    pub fn reload(&self, force: bool) -> Result<Reloaded, Vec<String>> {
        self.reload_if(force, |_, _, _| Ok(()))
    }

    /// ACL LOAD of the user `caller`. What was done at run time to who holds privileges is undone only
    /// by who may do it.
    pub(super) fn load_for(&self, caller: &str) -> Result<Reloaded, Vec<String>> {
        self.reload_if(true, |rules, next, dropped| {
            let now = rules.policy();
            let caller = now.user(caller);
            if caller.is_some_and(|caller| caller.may_administer(rules.table())) {
                return Ok(());
            }
            let is_privileged = |name: &&String| {
                let both = [now.user(name), next.user(name)];
                both.into_iter().flatten().any(|user| user.is_privileged())
            };
            match dropped.iter().find(is_privileged) {
                None => Ok(()),
                Some(name) => Err(vec![format!(
                    "the user '{name}' holds lethal= or script= rules and was changed at run time: \
                     loading its file needs lethal=acl"
                )]),
            }
        })
    }

    fn reload_if(
        &self,
        force: bool,
        may_drop: impl FnOnce(&Rules, &Policy, &[String]) -> Result<(), Vec<String>>,
    ) -> Result<Reloaded, Vec<String>> {
        // One at a time, from the first file to the swap: who has read last must be in force last.
        let turn = self.reloading.lock();
        let _turn = turn.unwrap_or_else(PoisonError::into_inner);
        let text = self.files.read();
        let mut warnings = Vec::new();
        let load = |rules: &Rules| {
            let compiled = self.files.compile(text, rules)?;
            warnings = compiled.warnings;
            Ok(compiled.policy)
        };
        let done = self.keeper.reload_if(force, load, may_drop);
        match &done {
            Ok(reloaded) => {
                self.metrics.reloads.succeeded();
                self.tell_reloaded(reloaded, &warnings);
            }
            Err(problems) => {
                self.metrics.reloads.failed(problems);
                self.tell_failed(problems);
            }
        }
        done
    }

    fn tell_reloaded(&self, reloaded: &Reloaded, warnings: &[String]) {
        let rules = self.keeper.snapshot();
        let policy = rules.policy().content_hash();
        if reloaded.unchanged {
            tracing::info!(policy, "reload: the ACL files are unchanged");
            return;
        }
        tracing::info!(policy, "reload: the ACL files are in force");
        for warning in warnings {
            tracing::warn!("reload: {warning}");
        }
        for user in &reloaded.dropped {
            tracing::warn!(
                user,
                "reload: a run-time change of this user was not saved, and is lost"
            );
        }
        self.audit.write(&Event {
            event: "reload",
            reason: "reloaded",
            dropped: reloaded.dropped.clone(),
            detail: Some(format!("policy {policy}")),
            ..Event::default()
        });
    }

    fn tell_failed(&self, problems: &[String]) {
        for problem in problems {
            tracing::error!("reload: {problem}");
        }
        tracing::error!(
            problems = problems.len(),
            "reload failed: the old policy stays in force"
        );
        self.audit.write(&Event {
            event: "reload_failed",
            reason: "acl_files",
            detail: Some(problems.join("\n")),
            ..Event::default()
        });
    }
}
