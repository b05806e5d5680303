//! Precautions: what a switch would do to others, and whether the service can bear it. Looked at before it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::super::plan::PlannedStep;
use super::Applier;
use super::fault::Fault;
use crate::resource::{OpenLogs, OthersSites, Precaution, ServedName, VhostTable, logs_of};
use crate::system::command::{self, CommandLine};
use crate::system::file::Found;
use crate::system::process::{self, OpenFiles};
use crate::system::systemd;

impl Applier<'_> {
    /// Those that need nothing of the step on disk: before anything is written. What cannot be found out is no obstacle:
    /// the probes tell afterwards.
    pub(super) async fn first_precautions(&self, step: &PlannedStep) -> Result<(), Fault> {
        for precaution in &step.precautions {
            if let Precaution::OpenFiles(logs) = precaution {
                self.count_open_files(logs).await?;
            }
        }
        Ok(())
    }

    /// Those that look at what is staged.
    pub(super) async fn last_precautions(&self, step: &PlannedStep) -> Result<(), Fault> {
        for precaution in &step.precautions {
            if let Precaution::VirtualHosts(others) = precaution {
                spare_others(others).await?;
            }
        }
        Ok(())
    }

    async fn count_open_files(&self, logs: &OpenLogs) -> Result<(), Fault> {
        // One that does not run has nobody to lose, and shows its limit only when it does.
        let Some(pid) = systemd::main_pid(self.platform, &logs.unit).await else {
            return Ok(());
        };
        let Some(OpenFiles { paths, limit }) = process::open_files(pid) else {
            return Ok(());
        };
        let judged = logs.judge(&paths, limit, &self.present_logs(logs));
        judged.map_err(Fault::Box)
    }

    /// The logs of what is in use now.
    fn present_logs(&self, logs: &OpenLogs) -> Vec<PathBuf> {
        let Ok(Found::Link(target)) = self.files.read(&logs.current) else {
            return Vec::new();
        };
        let dir = logs.current.with_file_name(target);
        let names = self.files.list(&dir).unwrap_or_default();
        let is_vhost = |name: &&String| {
            let extension = Path::new(name.as_str()).extension();
            extension.is_some_and(|extension| extension == "conf")
        };
        let files = names.iter().filter(is_vhost);
        files
            .filter_map(|name| match self.files.read(&dir.join(name)) {
                Ok(Found::File { bytes, .. }) => Some(String::from_utf8_lossy(&bytes).into_owned()),
                _ => None,
            })
            .flat_map(|text| logs_of(&text).collect::<Vec<_>>())
            .collect()
    }
}

/// Has Apache say which of its virtual hosts would answer where, and compares that with how it is.
async fn spare_others(others: &OthersSites) -> Result<(), Fault> {
    let (present, staged) = tokio::join!(table(&others.present), table(&others.staged));
    let (Some(present), Some(staged)) = (present, staged) else {
        return Ok(());
    };
    if !staged.has_of(&others.own) {
        return Err(Fault::Box(format!(
            "{}; nothing was switched",
            others.not_included
        )));
    }
    if let Some(loss) = present.loss(&staged, &others.own, &others.ports) {
        return Err(Fault::Box(format!("nothing was switched: {loss}")));
    }
    let mut members = BTreeMap::new();
    for ServedName { member, host, at } in &others.names {
        if let Some(vhost) = staged.answering(*at, host)
            && !vhost.is_of(&others.own)
        {
            let error = format!(
                "requests for {host} at {at} go to {} ({}), not to this site: that virtual host has the name too and is read first, or its address is more exact. Take the name out there, or disable that one; then agentctl apply --retry",
                vhost.name, vhost.place
            );
            members.entry(member.clone()).or_insert(error);
        }
    }
    if members.is_empty() {
        return Ok(());
    }
    let errors: Vec<&str> = members.values().map(String::as_str).collect();
    Err(Fault::Change {
        error: errors.join("\n"),
        members,
    })
}

async fn table(command: &CommandLine) -> Option<VhostTable> {
    let output = command::run(command).await.ok()?;
    VhostTable::parse(&output.stdout).filter(|_| output.success)
}
