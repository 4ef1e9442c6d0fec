//! What is asked of an upstream before the proxy runs, and by `check --upstream`.

use crate::command::Table;
use crate::proxy::upstream::{Connector, UpstreamError, within};
use crate::resp::Reply;
use crate::session::Facts;

use super::introduce::introduce;
use super::{ANSWER_WITHIN, Gaps};

/// What `check --upstream` wants to know.
#[derive(Debug)]
pub struct Inspection {
    /// What it said of itself.
    pub facts: Facts,
    /// What it didn't say.
    pub gaps: Gaps,
    /// Whether it runs commands for anybody who reaches it, without our credential.
    pub open: bool,
}

/// Asks an upstream what it is, and what it has that `table` lacks: the first of its addresses that
/// answers.
///
/// # Errors
/// It can't be reached or refuses us.
pub async fn ask(connector: &Connector, table: &Table) -> Result<Facts, UpstreamError> {
    let mut address = 0;
    loop {
        // A replica has the commands of its master.
        match introduce(connector, address, table).await {
            Ok((facts, _)) => return Ok(facts),
            Err(error) if address + 1 == connector.settings().addresses.len() => return Err(error),
            Err(_) => address += 1,
        }
    }
}

/// Asks the upstream at the address of this number what `check --upstream` reports.
///
/// # Errors
/// It can't be reached or refuses us.
pub async fn inspect(
    connector: &Connector,
    address: usize,
    table: &Table,
) -> Result<Inspection, UpstreamError> {
    let (facts, gaps) = introduce(connector, address, table).await?;
    Ok(Inspection {
        facts,
        gaps,
        open: is_open(connector, address).await?,
    })
}

/// Whether the upstream runs commands for anybody who reaches it: without our password, and without
/// our certificate.
async fn is_open(connector: &Connector, address: usize) -> Result<bool, UpstreamError> {
    let mut anonymous = connector.settings().clone();
    anonymous.password = None;
    anonymous.password_file = None;
    anonymous.username = None;
    if let Some(tls) = &mut anonymous.tls {
        tls.identity = None;
    }
    let anonymous = Connector::load(anonymous, connector.roots()).map_err(|problems| {
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        UpstreamError::Tls(problems.join("; "))
    })?;
    let asked = async {
        let mut dialogue = anonymous.open(address).await?;
        within(ANSWER_WITHIN, "PING", dialogue.ask(&["PING"])).await
    };
    match asked.await {
        Ok(answer) => Ok(matches!(answer, Reply::Status(_))),
        // It was there a moment ago: now it wants a certificate, and may say so in any way.
        Err(_) if connector.settings().tls.is_some() => Ok(false),
        Err(error) => Err(error),
    }
}
