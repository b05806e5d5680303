//! Where a document may have files stand, and where it may not: one table for all that it names by path.

use crate::fleet::names::AbsolutePath;

/// What a path is named for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    /// A node list of memcached: a small file for programs. It has no business among the configuration of services.
    NodeList,
    /// An entry of `files`.
    File,
}

/// Directories in which `files` may stand; each also by itself is nobody's but the system's.
const OPEN: [&str; 9] = [
    "/etc",
    "/opt",
    "/srv",
    "/usr/local",
    "/var/cache",
    "/var/lib",
    "/var/log",
    "/var/spool",
    "/var/www",
];

const SYSTEM: &str = "belongs to the system";
const AGENT: &str = "belongs to the agent itself";
const ACCOUNTS: &str = "is about accounts: the document has `users` and `groups` for that";
const LOGIN: &str = "decides who can log in: a mistake there locks everybody out";
const LOADER: &str = "is read by every program that starts";
const SERVICE: &str = "is the configuration of a service";

/// Paths at which, and under which, nothing of a document may stand, and why.
const RESERVED: [(&str, &str); 36] = [
    ("/boot", SYSTEM),
    ("/dev", SYSTEM),
    ("/etc/agentd", AGENT),
    ("/etc/alternatives", "belongs to the package manager"),
    ("/etc/apache2/agentd", AGENT),
    ("/etc/apache2/sites-enabled/zz-agentd.conf", AGENT),
    ("/etc/crypttab", SYSTEM),
    ("/etc/fstab", SYSTEM),
    ("/etc/group", ACCOUNTS),
    ("/etc/gshadow", ACCOUNTS),
    (
        "/etc/hosts",
        "is written from `servers` and `aliases` of the document",
    ),
    ("/etc/httpd/agentd", AGENT),
    ("/etc/httpd/conf.d/zz-agentd.conf", AGENT),
    ("/etc/ld.so.cache", LOADER),
    ("/etc/ld.so.conf", LOADER),
    ("/etc/ld.so.conf.d", LOADER),
    ("/etc/ld.so.preload", LOADER),
    ("/etc/machine-id", SYSTEM),
    ("/etc/nsswitch.conf", LOGIN),
    ("/etc/pam.d", LOGIN),
    ("/etc/passwd", ACCOUNTS),
    ("/etc/pki/ca-trust", "decides whom all programs trust"),
    ("/etc/selinux", SYSTEM),
    ("/etc/shadow", ACCOUNTS),
    ("/etc/ssl/certs", "decides whom all programs trust"),
    ("/etc/sudoers", LOGIN),
    (
        "/etc/sudoers.d",
        "is about accounts: the document has `sudo` of `users` for that",
    ),
    (
        "/etc/systemd/system",
        "holds units, which systemd would have to be told to read anew",
    ),
    ("/proc", SYSTEM),
    ("/run", SYSTEM),
    ("/sys", SYSTEM),
    ("/var/lib/agentd", AGENT),
    ("/var/lib/dpkg", "belongs to the package manager"),
    ("/var/lib/php/agentd", AGENT),
    ("/var/lib/rpm", "belongs to the package manager"),
    ("/var/run", SYSTEM),
];

/// Beginnings of paths that are reserved in the same way.
const RESERVED_NAMES: [(&str, &str); 4] = [
    ("/etc/cron.d/agentd-", AGENT),
    ("/etc/php-fpm.d/agentd-", AGENT),
    ("/etc/ssh/ssh_host_", "is the machine's own key"),
    ("/var/lib/mysql", "holds databases"),
];

/// More of them, for node lists only.
const RESERVED_FOR_LISTS: [(&str, &str); 7] = [
    ("/etc/apache2", SERVICE),
    ("/etc/cron.d", SERVICE),
    ("/etc/crontab", SERVICE),
    ("/etc/httpd", SERVICE),
    ("/etc/ssh", SERVICE),
    ("/etc/systemd", SERVICE),
    ("/usr/lib/systemd", SERVICE),
];

/// Directories that no site serves anything of, and why.
const NEVER_SERVED: [(&str, &str); 14] = [
    ("/boot", SYSTEM),
    ("/dev", SYSTEM),
    (
        "/etc",
        "holds the machine's configuration, and passwords in it",
    ),
    ("/lib", SYSTEM),
    ("/lib64", SYSTEM),
    ("/proc", "leads to everything on the machine"),
    ("/root", "is root's home"),
    ("/run", SYSTEM),
    ("/sbin", SYSTEM),
    ("/sys", SYSTEM),
    ("/var/lib/agentd", AGENT),
    ("/var/lib/mysql", "holds databases"),
    ("/var/run", SYSTEM),
    ("/var/spool/cron", "holds cron jobs"),
];

/// Why no site serves a directory, as the end of a sentence. `None`: one may.
pub(super) fn not_served(directory: &str) -> Option<String> {
    let is_under = |path: &str, above: &str| {
        path.strip_prefix(above)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    NEVER_SERVED.iter().find_map(|(place, why)| {
        if directory == *place {
            Some(format!("it {why}"))
        } else if is_under(directory, place) {
            Some(format!("{place} {why}"))
        } else {
            is_under(place, directory).then(|| format!("{place} is in it, which {why}"))
        }
    })
}

/// What is changed only with a check that has succeeded: who made a mistake could not come to mend it.
const NEEDS_CHECK: [&str; 2] = ["/etc/ssh/sshd_config", "/etc/ssh/sshd_config.d"];

/// Why nothing of this may stand at `path`, as the end of a sentence. `None`: it may.
pub(super) fn obstacle(path: &AbsolutePath, what: For) -> Option<String> {
    let exact = RESERVED.iter();
    let lists = RESERVED_FOR_LISTS.iter().filter(|_| what == For::NodeList);
    let (place, why) = exact
        .chain(lists)
        .find(|(place, _)| path.is_at_or_under(place))
        .or_else(|| {
            let mut names = RESERVED_NAMES.iter();
            names.find(|(begins, _)| path.as_str().starts_with(begins))
        })
        .copied()
        .unzip();
    if is_debians_pool(path) {
        return Some(format!("it {AGENT}: a PHP pool"));
    }
    if let (Some(place), Some(why)) = (place, why) {
        return Some(if place == path.as_str() {
            format!("it {why}")
        } else {
            format!("{place} {why}")
        });
    }
    if what == For::NodeList {
        return None;
    }
    let is_open = OPEN
        .iter()
        .any(|open| path.is_at_or_under(open) && path.as_str() != *open);
    if !is_open {
        return Some(format!("files stand in {} only", OPEN.join(", ")));
    }
    // Whoever has the directory has what is in it.
    let holds = RESERVED.iter().chain(&RESERVED_NAMES);
    let held = holds.map(|(place, _)| *place).find(|place| {
        place
            .strip_prefix(path.as_str())
            .is_some_and(|rest| rest.starts_with('/'))
    });
    held.map(|place| format!("{place} stands in it, which is not for documents"))
}

/// Debian has a directory of pools for each version of PHP.
fn is_debians_pool(path: &AbsolutePath) -> bool {
    path.is_at_or_under("/etc/php") && path.as_str().contains("/fpm/pool.d/agentd-")
}

/// Whether a file there must have a `check`.
pub(super) fn needs_check(path: &AbsolutePath) -> bool {
    NEEDS_CHECK.iter().any(|place| path.is_at_or_under(place))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> Option<String> {
        obstacle(&path.parse().unwrap(), For::File)
    }

    #[test]
    fn files_stand_where_people_put_them() {
        for path in [
            "/etc/motd",
            "/etc/shop/app.ini",
            "/etc/httpd/conf.d/shop.conf",
            "/etc/cron.d/other",
            "/etc/passwdless",
            "/etc/php/8.2/fpm/pool.d/www.conf",
            "/etc/ssh/sshd_config",
            "/srv/shop",
            "/usr/local/bin/tool",
            "/var/lib/shop/seed",
        ] {
            assert_eq!(file(path), None, "{path}");
        }
    }

    #[test]
    fn what_is_the_systems_or_the_agents_is_refused() {
        for path in [
            "/etc",
            "/etc/passwd",
            "/etc/sudoers.d/shop",
            "/etc/cron.d/agentd-shop_tick",
            "/etc/php-fpm.d/agentd-shop.conf",
            "/etc/php/8.2/fpm/pool.d/agentd-shop.conf",
            "/var/lib/php/agentd",
            "/etc/agentd/agentd.toml",
            "/etc/ssl",
            "/etc/ssh",
            "/etc/cron.d",
            "/etc/systemd/system/agentd.service.d/x.conf",
            "/var/lib/agentd/ledger.json",
            "/usr/bin/true",
            "/home/deploy/.ssh/authorized_keys",
            "/root/.bashrc",
            "/tmp/x",
            "/proc/sys/kernel/core_pattern",
        ] {
            assert!(file(path).is_some(), "{path}");
        }
    }

    #[test]
    fn sites_serve_what_is_there_to_be_served() {
        for directory in [
            "/srv/shop/public",
            "/var/www/html",
            "/home/shop/public_html",
            "/usr/share/phpmyadmin",
            "/var/lib/wiki",
            "/runner",
        ] {
            assert_eq!(not_served(directory), None, "{directory}");
        }
        for directory in [
            "/etc",
            "/proc/self/root",
            "/run",
            "/var",
            "/var/lib",
            "/var/lib/mysql/shop",
            "/root/site",
        ] {
            assert!(not_served(directory).is_some(), "{directory}");
        }
    }

    #[test]
    fn node_lists_are_kept_out_of_the_configuration_of_services_too() {
        let list = |path: &str| obstacle(&path.parse().unwrap(), For::NodeList);
        assert_eq!(list("/data/shop/nodes"), None);
        assert!(list("/etc/httpd/conf.d/shop.conf").is_some());
        assert!(list("/etc/shadow").is_some());
    }
}
