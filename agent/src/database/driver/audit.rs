//! The server's settings and accounts, looked at now and then: what could make two masters stops the automation, the rest
//! is told.

use std::path::Path;
use std::time::Duration;

use super::context::Context;
use super::local_server::LocalServer;
use crate::database::server::audit::{self, AuditFinding};
use crate::database::server::omissions;

/// What reads option files as the server does: its own tool.
const TOOL: &str = "/usr/bin/my_print_defaults";
const PATIENCE: Duration = Duration::from_secs(5);

/// What is wrong with a server's settings and accounts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Audit {
    findings: Vec<AuditFinding>,
    /// Accounts that write to a server that refuses writes.
    privileged: Vec<String>,
}

/// Looks at the local server and its option files; `None` where the server does not answer. What only its tool could
/// tell is left out where that is not installed.
pub(super) async fn look(local: &LocalServer, context: &Context) -> Option<Audit> {
    let mut findings = audit::running(local.server(), PATIENCE).await.ok()?;
    findings.extend(omissions::filters(local.server(), PATIENCE).await.ok()?);
    findings.extend(local.engines(PATIENCE).await);
    if Path::new(TOOL).exists()
        && let Ok(later) = audit::at_boot(TOOL, PATIENCE).await
    {
        findings.extend(later);
    }
    let credentials = &context.credentials;
    let ours = [
        credentials.local.user.as_str(),
        credentials.peer.user.as_str(),
        credentials.replication().user.as_str(),
    ];
    let privileged = audit::privileged(local.server(), &ours, PATIENCE).await;
    let privileged = privileged.unwrap_or_default();
    Some(Audit {
        findings,
        privileged,
    })
}

impl Audit {
    /// Whether two masters, or lost transactions, could come of it.
    pub(super) fn is_grave(&self) -> bool {
        self.findings.iter().any(|finding| finding.grave)
    }

    /// As sentences: what stops the automation, and what is only told.
    pub(super) fn alarms_and_notes(&self) -> (Vec<String>, Vec<String>) {
        let say = |finding: &AuditFinding| {
            if finding.want.is_empty() {
                return format!(
                    "the database server's {} is {}: {}",
                    finding.setting, finding.is, finding.why
                );
            }
            format!(
                "the database server's {} is {}: {}; write `{}` into its option file, and set it",
                finding.setting, finding.is, finding.why, finding.want
            )
        };
        let (grave, other): (Vec<_>, Vec<_>) = self.findings.iter().partition(|it| it.grave);
        let notes: Vec<_> = other.into_iter().map(say).collect();
        let alarm = |finding: &AuditFinding| {
            let then = if finding.want.is_empty() {
                "as long as it is so; what it lacks it does not get by that: agentctl db rejoin PRODUCT --discard makes it anew"
            } else {
                "until then"
            };
            format!("{}. It is no candidate {then}", say(finding))
        };
        let mut alarms: Vec<_> = grave.into_iter().map(alarm).collect();
        if !self.privileged.is_empty() {
            alarms.push(format!(
                "these accounts write to a server that refuses writes (SUPER, READ ONLY ADMIN, ALL PRIVILEGES), so that on a replica \
                 they make a history of its own, and a fence alone cannot keep them out: {}. Take the right from them \
                 (REVOKE … ON *.*)",
                self.privileged.join(", ")
            ));
        }
        (alarms, notes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(setting: &str, grave: bool) -> AuditFinding {
        AuditFinding {
            setting: setting.to_owned(),
            is: "0".to_owned(),
            want: format!("{setting} = 1"),
            why: "because".to_owned(),
            grave,
        }
    }

    #[test]
    fn what_is_grave_is_an_alarm_and_the_rest_a_note() {
        let audit = Audit {
            findings: vec![finding("read_only", true), finding("sync_binlog", false)],
            privileged: vec!["'app'@'%'".to_owned()],
        };
        assert!(audit.is_grave());
        let (alarms, notes) = audit.alarms_and_notes();
        assert!(alarms.len() == 2 && alarms[0].contains("`read_only = 1`"));
        assert!(alarms[1].contains("'app'@'%'"));
        assert_eq!(notes.len(), 1);
        assert!(!Audit::default().is_grave());
    }
}
