//! The platform table: paths, unit names and commands of CentOS (home) and Debian, chosen by `/etc/os-release`.

mod detect;
mod overrides;
mod packages;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use overrides::{ApacheOverrides, PhpOverrides, PlatformOverrides};
pub use packages::debian_package;

/// Which family of distributions this machine is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// CentOS, RHEL, Fedora, Rocky, Alma, Amazon Linux.
    Centos,
    /// Debian, Ubuntu.
    Debian,
}

/// Where things stand on this machine, and how they are called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// The family that the defaults came from.
    pub family: Family,
    /// Apache.
    pub apache: Apache,
    /// PHP's process manager.
    pub php: Php,
    /// The directory of cron's drop-in tables.
    pub cron_dir: PathBuf,
    /// `systemctl`, absolute.
    pub systemctl: PathBuf,
    /// The directory of environment files of memcached instances, one a product.
    pub memcached_dir: PathBuf,
    /// The systemd template unit of memcached instances, without the instance: `agentd-memcached@`.
    pub memcached_template: String,
    /// Where override templates of vhosts are looked up.
    pub templates_dir: PathBuf,
    /// Units that are called otherwise here: CentOS's name → the name here, both without `.service`.
    pub units: BTreeMap<String, String>,
}

/// Where Apache stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Apache {
    /// The directory of generations: `/etc/httpd/agentd`.
    pub dir: PathBuf,
    /// The one include file: `/etc/httpd/conf.d/zz-agentd.conf`, `/etc/apache2/sites-enabled/zz-agentd.conf`.
    /// Read last: requests for hosts that no vhost has go to the first vhost, and that stays the administrator's.
    pub include: PathBuf,
    /// The main configuration file.
    pub main_config: PathBuf,
    /// Where access and error logs go: `/var/log/httpd`.
    pub log_dir: PathBuf,
    /// The configuration test, to which `-D AGENTD_STAGED` is added: `/usr/sbin/httpd -t`, `/usr/sbin/apache2ctl -t`.
    pub test: Vec<String>,
    /// The systemd unit: `httpd.service`.
    pub unit: String,
}

/// Where php-fpm stands. Its unit is that of `php-fpm` in [`Platform::units`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Php {
    /// The program, which tests configurations: `/usr/sbin/php-fpm`.
    pub program: PathBuf,
    /// The main configuration file.
    pub main_config: PathBuf,
    /// The directory of pools, a file each: `/etc/php-fpm.d`.
    pub pool_dir: PathBuf,
    /// Where the sockets of pools stand: `/run/php-fpm`.
    pub socket_dir: PathBuf,
}

impl Php {
    /// Of CentOS.
    fn centos() -> Self {
        Self {
            program: "/usr/sbin/php-fpm".into(),
            main_config: "/etc/php-fpm.conf".into(),
            pool_dir: "/etc/php-fpm.d".into(),
            socket_dir: "/run/php-fpm".into(),
        }
    }

    /// Of Debian, where each version has its own.
    fn debian(version: &str) -> Self {
        Self {
            program: format!("/usr/sbin/php-fpm{version}").into(),
            main_config: format!("/etc/php/{version}/fpm/php-fpm.conf").into(),
            pool_dir: format!("/etc/php/{version}/fpm/pool.d").into(),
            socket_dir: "/run/php".into(),
        }
    }
}

/// The PHP of Debian 12: taken where none is there to be looked at, for planning at a desk.
const DEBIAN_PHP: &str = "8.2";

/// Well-known units that Debian calls otherwise. `php-fpm` is not here: its name holds PHP's version.
const DEBIAN_UNITS: [(&str, &str); 14] = [
    ("chronyd", "chrony"),
    ("crond", "cron"),
    ("dhcpd", "isc-dhcp-server"),
    ("httpd", "apache2"),
    ("iptables", "netfilter-persistent"),
    // MySQL's own name; MariaDB's unit answers to it too.
    ("mysqld", "mysql"),
    ("nagios", "nagios4"),
    ("nfs-server", "nfs-kernel-server"),
    ("nmb", "nmbd"),
    ("nrpe", "nagios-nrpe-server"),
    ("ntpd", "ntp"),
    ("redis", "redis-server"),
    ("smb", "smbd"),
    ("sshd", "ssh"),
];

/// What a unit's name may end in; anything else gets `.service`.
const UNIT_SUFFIXES: [&str; 11] = [
    ".automount",
    ".device",
    ".mount",
    ".path",
    ".scope",
    ".service",
    ".slice",
    ".socket",
    ".swap",
    ".target",
    ".timer",
];

impl Platform {
    /// The table's row.
    pub fn of(family: Family) -> Self {
        let strings = |words: [&str; 2]| words.map(str::to_owned).to_vec();
        let (apache, units) = match family {
            Family::Centos => (
                Apache {
                    dir: "/etc/httpd/agentd".into(),
                    include: "/etc/httpd/conf.d/zz-agentd.conf".into(),
                    main_config: "/etc/httpd/conf/httpd.conf".into(),
                    log_dir: "/var/log/httpd".into(),
                    test: strings(["/usr/sbin/httpd", "-t"]),
                    unit: "httpd.service".into(),
                },
                BTreeMap::new(),
            ),
            Family::Debian => (
                Apache {
                    dir: "/etc/apache2/agentd".into(),
                    include: "/etc/apache2/sites-enabled/zz-agentd.conf".into(),
                    main_config: "/etc/apache2/apache2.conf".into(),
                    log_dir: "/var/log/apache2".into(),
                    // Not apache2 itself: its configuration uses variables that this script reads
                    // from /etc/apache2/envvars. It passes on arguments that it does not know.
                    test: strings(["/usr/sbin/apache2ctl", "-t"]),
                    unit: "apache2.service".into(),
                },
                DEBIAN_UNITS
                    .iter()
                    .map(|&(there, here)| (there.to_owned(), here.to_owned()))
                    .collect(),
            ),
        };
        let php = match family {
            Family::Centos => Php::centos(),
            Family::Debian => Php::debian(DEBIAN_PHP),
        };
        Self {
            family,
            apache,
            php,
            cron_dir: "/etc/cron.d".into(),
            systemctl: "/usr/bin/systemctl".into(),
            memcached_dir: "/etc/agentd/memcached".into(),
            memcached_template: "agentd-memcached@".into(),
            templates_dir: "/etc/agentd/templates".into(),
            units,
        }
    }

    /// The full name here of a unit that a document calls by CentOS's name, with or without suffix:
    /// `httpd` → `apache2.service`.
    pub fn unit(&self, centos_name: &str) -> String {
        let (stem, suffix) = UNIT_SUFFIXES
            .iter()
            .find_map(|&suffix| Some((centos_name.strip_suffix(suffix)?, suffix)))
            .unwrap_or((centos_name, ".service"));
        let here = self.units.get(stem).map_or(stem, String::as_str);
        format!("{here}{suffix}")
    }
}
