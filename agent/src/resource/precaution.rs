//! What is looked at before a switch, beyond the check: whether it would harm what others have on the box, or what the
//! service can bear. Nothing is switched where it would; that is the box's fault, and tried again.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::member::MemberName;
use crate::system::command::CommandLine;

/// A look before the switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precaution {
    /// At Apache's table of its virtual hosts.
    VirtualHosts(OthersSites),
    /// At how many files the service may open.
    OpenFiles(OpenLogs),
}

/// Sites of others that go on being reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OthersSites {
    /// Prints the table as it is.
    pub present: CommandLine,
    /// Prints it as it would be.
    pub staged: CommandLine,
    /// The directory of the agent's own.
    pub own: PathBuf,
    /// The ports that others listen on.
    pub ports: BTreeSet<u16>,
    /// The names by which the agent's own are to be reached, and where.
    pub names: Vec<ServedName>,
    /// What to do where Apache does not read the agent's own at all.
    pub not_included: String,
}

/// A name of one of the agent's sites.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedName {
    /// Whose.
    pub member: MemberName,
    /// The name; of a wildcard, one that it stands for.
    pub host: String,
    /// Where visitors ask for it.
    pub at: SocketAddr,
}

/// Log files that the service has open as long as it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenLogs {
    /// The service.
    pub unit: String,
    /// The directory whose `.conf` files name those that it has open now.
    pub current: PathBuf,
    /// Those that it would have open, each as often as it is named.
    pub wanted: Vec<PathBuf>,
}

/// So many descriptors are for everything else: connections, pages, programs.
const RESERVE: usize = 100;

impl OpenLogs {
    /// Whether the service may open so many. `open`: what its main process has open; `limit`: how many that may be. The error
    /// says what to do.
    pub fn judge(&self, open: &[PathBuf], limit: usize, present: &[PathBuf]) -> Result<(), String> {
        let own: BTreeSet<&PathBuf> = present.iter().collect();
        let others = open.iter().filter(|path| !own.contains(path)).count();
        let needed = others + self.wanted.len();
        // Fewer than there are make nothing worse, however many there are.
        if needed + RESERVE <= limit || self.wanted.len() <= present.len() {
            return Ok(());
        }
        let unit = &self.unit;
        let enough = (2 * (needed + RESERVE)).next_power_of_two();
        Err(format!(
            "{unit} may have {limit} files open (LimitNOFILE), and with the sites' {} logs it would have {needed}, {RESERVE} more aside for connections: it would end at the reload, so nothing was switched. Give it more, and the sites come by themselves: systemctl edit {unit}, add [Service] and LimitNOFILE={enough}, then systemctl restart {unit}{}",
            self.wanted.len(),
            if unit.starts_with("apache2.") {
                format!(
                    " (apache2ctl sets it too: APACHE_ULIMIT_MAX_FILES='ulimit -n {enough}' in /etc/apache2/envvars)"
                )
            } else {
                String::new()
            }
        ))
    }
}

/// The log files that virtual hosts of this text write to themselves; programs that they are piped to are not among them.
pub fn logs_of(text: &str) -> impl Iterator<Item = PathBuf> {
    text.lines().filter_map(|line| {
        let (directive, rest) = line.trim_start().split_once(char::is_whitespace)?;
        let is_log = ["ErrorLog", "CustomLog", "TransferLog"]
            .iter()
            .any(|name| directive.eq_ignore_ascii_case(name));
        let rest = rest.trim_start();
        let path = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next(),
            None => rest.split_whitespace().next(),
        };
        let path = Path::new(path?);
        (is_log && path.is_absolute()).then(|| path.to_path_buf())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(count: usize, kind: &str) -> Vec<PathBuf> {
        (0..count)
            .map(|n| format!("/log/{kind}{n}").into())
            .collect()
    }

    #[test]
    fn what_does_not_fit_is_told_before_it_is_tried() {
        let logs = |count| OpenLogs {
            unit: "httpd.service".into(),
            current: PathBuf::new(),
            wanted: paths(count, "site"),
        };
        let mut open = paths(20, "own");
        let none = Vec::new();
        assert_eq!(logs(900).judge(&open, 1024, &none), Ok(()));
        insta::assert_snapshot!(logs(1400).judge(&open, 1024, &none).unwrap_err(), @"httpd.service may have 1024 files open (LimitNOFILE), and with the sites' 1400 logs it would have 1420, 100 more aside for connections: it would end at the reload, so nothing was switched. Give it more, and the sites come by themselves: systemctl edit httpd.service, add [Service] and LimitNOFILE=4096, then systemctl restart httpd.service");
        // It serves with so many already.
        let present = paths(960, "site");
        open.extend(present.iter().cloned());
        assert_eq!(logs(950).judge(&open, 1024, &present), Ok(()));
        assert!(logs(962).judge(&open, 1024, &present).is_err());
    }

    #[test]
    fn logs_are_found_in_a_vhost() {
        let text = "<VirtualHost *:80>\n  ErrorLog \"/l/a b.log\"\n  customlog /l/c.log combined\n  CustomLog \"|/bin/rotate x\" common\n  ErrorLog syslog:local1\n  ServerName x\n";
        let found: Vec<_> = logs_of(text).collect();
        assert_eq!(found, [Path::new("/l/a b.log"), Path::new("/l/c.log")]);
    }
}
