//! The platform table: paths, unit names and commands of CentOS (home) and Debian, chosen by `/etc/os-release`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

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
}

/// Where Apache stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Apache {
    /// The directory of generations: `/etc/httpd/agentd`.
    pub dir: PathBuf,
    /// The one include file: `/etc/httpd/conf.d/agentd.conf`, `/etc/apache2/conf-enabled/agentd.conf`.
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
