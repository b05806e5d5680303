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

const NAMES: &str = "is how this machine finds every name, the bucket's too";
const TRUST: &str = "decides whom all programs trust";

/// Paths at which, and under which, nothing of a document may stand, and why.
const RESERVED: &[(&str, &str)] = &[
    ("/boot", SYSTEM),
    ("/dev", SYSTEM),
    ("/etc/agentd", AGENT),
    ("/etc/alternatives", "belongs to the package manager"),
    ("/etc/authselect", LOGIN),
    ("/etc/ca-certificates", TRUST),
    ("/etc/ca-certificates.conf", TRUST),
    ("/etc/dbus-1", SYSTEM),
    ("/etc/grub.d", SYSTEM),
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
    ("/etc/nologin", LOGIN),
    ("/etc/nsswitch.conf", LOGIN),
    ("/etc/pam.d", LOGIN),
    ("/etc/passwd", ACCOUNTS),
    ("/etc/pki/ca-trust", TRUST),
    ("/etc/pki/tls/cert.pem", TRUST),
    ("/etc/pki/tls/certs", TRUST),
    ("/etc/polkit-1", LOGIN),
    ("/etc/resolv.conf", NAMES),
    ("/etc/securetty", LOGIN),
    ("/etc/selinux", SYSTEM),
    ("/etc/shadow", ACCOUNTS),
    ("/etc/ssl/cert.pem", TRUST),
    ("/etc/ssl/certs", TRUST),
    ("/etc/subgid", ACCOUNTS),
    ("/etc/subuid", ACCOUNTS),
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

/// Directories below which node lists may stand; other ones at the top of the tree that the system does not know may hold them too.
const OPEN_FOR_LISTS: [&str; 9] = [
    "/home",
    "/mnt",
    "/opt",
    "/srv",
    "/usr/local/etc",
    "/usr/local/share",
    "/var/cache",
    "/var/lib",
    "/var/www",
];

/// What a distribution has at the top of its tree. Below these node lists stand only where that is said above, or in `/etc`.
const SYSTEM_TOPS: [&str; 20] = [
    "/afs",
    "/bin",
    "/boot",
    "/dev",
    "/efi",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/lost+found",
    "/media",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/sys",
    "/tmp",
    "/usr",
    "/var",
];

/// Directories of `/etc` that programs of the system and services read: a node list has no business there. PHP's are none of these, for
/// it reads lists as settings of its sessions.
const SERVICES_IN_ETC: &str = "NetworkManager X11 acpi alternatives apache2 apparmor apparmor.d apt audit authselect avahi \
    bash_completion.d bind binfmt.d bluetooth chrony cloud cron.allow cron.d cron.daily cron.deny cron.hourly cron.monthly cron.weekly \
    crontab crypto-policies cups dbus-1 dconf default depmod.d dhcp dnf docker dpkg dracut.conf.d environment.d exim4 exports.d fail2ban \
    firewalld fonts gdm grub.d gss haproxy httpd init init.d initramfs-tools iproute2 iptables issue.d kernel krb5.conf.d ld.so.conf.d ldap \
    letsencrypt libvirt lightdm logcheck logrotate.d lvm mail mdadm memcached modprobe.d modules-load.d monit motd.d munin my.cnf.d mysql \
    nagios nagios4 named netplan network networkd-dispatcher nftables nginx nrpe openldap openvpn pam.d perl pki pm polkit-1 postfix ppp \
    profile.d puppet puppetlabs python3 rc.d rc0.d rc1.d rc2.d rc3.d rc4.d rc5.d rc6.d rcS.d request-key.d resolvconf rpm rsyslog.d samba \
    sasl2 security selinux skel smartmontools snmp ssh ssl sssd strongswan sudoers.d sysconfig sysctl.d systemd terminfo tmpfiles.d tuned \
    udev udisks2 ufw unbound update-motd.d vim wireguard wpa_supplicant xdg xinetd.d yum yum.repos.d zabbix zsh";
/// The same of `/var/lib`.
const SERVICES_IN_LIB: &str = "NetworkManager alternatives apt authselect bluetooth chrony cloud containerd dbus dhclient dhcp dnf docker \
    dpkg fwupd grub initramfs-tools kubelet logrotate misc mysql named nfs ntp os-prober pam pgsql php polkit-1 portables postfix postgresql \
    private puppet python rpm rpm-state rsyslog samba selinux sss sudo systemd tpm2-tss ucf udisks2 update-notifier usb_modeswitch";

/// Endings of node lists that stand in `/etc` itself, among the system's own files.
const ENDINGS: [&str; 5] = [".ini", ".json", ".list", ".php", ".txt"];

/// Why no node list may stand at `path`, as the end of a sentence. `None`: one may.
fn unfit_for_list(path: &str) -> Option<String> {
    let below = |above: &str| path.strip_prefix(above)?.strip_prefix('/');
    if path.contains("/.") {
        return Some("a node list is no hidden file, and stands in no hidden directory".into());
    }
    if let Some(inside) = below("/etc") {
        return match inside.split_once('/') {
            Some((dir, _)) if is_one_of(dir, SERVICES_IN_ETC) => {
                Some(format!("/etc/{dir} {SERVICE}"))
            }
            Some(_) => None,
            None if ENDINGS.iter().any(|end| inside.ends_with(end)) => None,
            None => Some(format!(
                "in /etc itself only files that end in {} may be node lists; or give it a directory there",
                ENDINGS.join(", ")
            )),
        };
    }
    if let Some(inside) = below("/var/lib") {
        let dir = inside.split('/').next().unwrap_or_default();
        if is_one_of(dir, SERVICES_IN_LIB) {
            return Some(format!("/var/lib/{dir} belongs to a service"));
        }
    }
    let is_system = SYSTEM_TOPS
        .iter()
        .any(|top| path == *top || below(top).is_some());
    let is_open = OPEN_FOR_LISTS.iter().any(|open| below(open).is_some());
    let is_in_a_directory = path.matches('/').count() > 1;
    if is_open || (!is_system && is_in_a_directory) {
        return None;
    }
    Some(format!(
        "node lists stand in {}, in a directory of /etc, or in one of your own at the top",
        OPEN_FOR_LISTS.join(", ")
    ))
}

fn is_one_of(name: &str, names: &str) -> bool {
    names.split_whitespace().any(|one| one == name)
}

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
    let (place, why) = RESERVED
        .iter()
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
        return unfit_for_list(path.as_str());
    }
    let is_open = OPEN
        .iter()
        .any(|open| path.is_at_or_under(open) && path.as_str() != *open);
    if !is_open {
        return Some(format!("files stand in {} only", OPEN.join(", ")));
    }
    // Whoever has the directory has what is in it.
    let holds = RESERVED.iter().chain(RESERVED_NAMES.iter());
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

    /// Files of the system, each of which decides about more than the product whose list would stand there.
    const SYSTEM_FILES: &str = "/bin/sh /boot/grub/grub.cfg /dev/sda /etc/NetworkManager/NetworkManager.conf /etc/X11/xorg.conf \
        /etc/adjtime /etc/aliases /etc/alternatives/awk /etc/anacrontab /etc/apache2/apache2.conf /etc/apparmor.d/local/x \
        /etc/apt/sources.list /etc/apt/sources.list.d/x.list /etc/apt/trusted.gpg.d/x.php /etc/at.deny /etc/audit/auditd.conf \
        /etc/authselect/nsswitch.conf /etc/bash.bashrc /etc/bashrc /etc/bind/named.conf /etc/ca-certificates.conf /etc/chrony/chrony.conf \
        /etc/cloud/cloud.cfg /etc/cron.allow /etc/cron.d/shop /etc/cron.daily/logrotate /etc/cron.deny /etc/cron.hourly/x \
        /etc/cron.weekly/x /etc/crontab /etc/crypto-policies/config /etc/crypttab /etc/dbus-1/system.conf /etc/default/grub \
        /etc/depmod.d/x.conf /etc/dhcp/dhclient.conf /etc/dnf/dnf.conf /etc/dnf/plugins/versionlock.list /etc/environment \
        /etc/environment.d/x.conf /etc/ethers /etc/exports /etc/firewalld/firewalld.conf /etc/fstab /etc/fuse.conf /etc/gai.conf \
        /etc/group /etc/gshadow /etc/gss/mech /etc/host.conf /etc/hostname /etc/hosts /etc/hosts.allow /etc/hosts.deny \
        /etc/httpd/conf/httpd.conf /etc/init.d/ssh /etc/initramfs-tools/modules /etc/inittab /etc/inputrc /etc/iptables/rules.v4 \
        /etc/issue /etc/kernel/postinst.d/x /etc/krb5.conf /etc/ld.so.cache /etc/ld.so.conf /etc/ld.so.conf.d/x.conf /etc/ld.so.preload \
        /etc/ldap/ldap.conf /etc/libaudit.conf /etc/locale.conf /etc/localtime /etc/login.defs /etc/logrotate.conf /etc/logrotate.d/x \
        /etc/machine-id /etc/magic /etc/mke2fs.conf /etc/modprobe.d/x.conf /etc/modules /etc/modules-load.d/x.conf /etc/motd /etc/mtab \
        /etc/my.cnf /etc/my.cnf.d/server.cnf /etc/mysql/my.cnf /etc/netconfig /etc/networks /etc/nftables/main.nft /etc/nginx/nginx.conf \
        /etc/nologin /etc/nsswitch.conf /etc/os-release /etc/pam.d/su /etc/passwd /etc/pki/tls/certs/ca-bundle.crt \
        /etc/polkit-1/rules.d/x.rules /etc/ppp/options /etc/profile /etc/profile.d/x.sh /etc/protocols /etc/rc.d/rc.local /etc/rc.local \
        /etc/resolv.conf /etc/rsyslog.conf /etc/rsyslog.d/x.conf /etc/securetty /etc/security/access.conf /etc/security/limits.d/x.conf \
        /etc/selinux/config /etc/services /etc/shadow /etc/shells /etc/skel/x /etc/ssh/sshd_config /etc/ssh/ssh_host_rsa_key \
        /etc/ssl/certs/ca-certificates.crt /etc/ssl/openssl.cnf /etc/subuid /etc/sudoers /etc/sudoers.d/x /etc/sysconfig/network \
        /etc/sysctl.conf /etc/sysctl.d/x.conf /etc/systemd/journald.conf /etc/systemd/system/x.service /etc/tmpfiles.d/x.conf \
        /etc/udev/rules.d/x.rules /etc/xattr.conf /etc/yum.repos.d/x.repo /home/deploy/.ssh/authorized_keys /lib/systemd/system/x.service \
        /proc/sys/kernel/core_pattern /root/nodes.json /root/.bashrc /run/systemd/x /sbin/init /sys/x /tmp/nodes.json /usr/bin/true \
        /usr/lib/systemd/system/x.service /usr/local/bin/tool /usr/local/sbin/x /usr/share/x /var/lib/agentd/ledger.json \
        /var/lib/apt/lists/x /var/lib/dpkg/status /var/lib/mysql/shop/x /var/lib/rpm/Packages /var/lib/systemd/random-seed \
        /var/log/messages /var/run/x /var/spool/cron/root /nodes.json";

    #[test]
    fn no_node_list_stands_where_the_system_has_its_files() {
        let list = |path: &str| obstacle(&path.parse().unwrap(), For::NodeList);
        let paths: Vec<&str> = SYSTEM_FILES.split_whitespace().collect();
        assert!(paths.len() > 114, "{}", paths.len());
        let open: Vec<&&str> = paths.iter().filter(|path| list(path).is_none()).collect();
        assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    fn node_lists_stand_where_products_have_theirs() {
        for path in [
            "/data/shop/nodes",
            "/etc/php.d/sessions.ini",
            "/etc/php/8.2/fpm/conf.d/sessions.ini",
            "/etc/shop/memcached.json",
            "/etc/memcached-nodes.json",
            "/home/shop/etc/nodes.php",
            "/opt/shop/nodes",
            "/srv/shop/shared/nodes.json",
            "/usr/local/etc/shop.ini",
            "/var/lib/shop/nodes",
            "/var/www/shop/nodes.php",
        ] {
            assert_eq!(
                obstacle(&path.parse().unwrap(), For::NodeList),
                None,
                "{path}"
            );
        }
    }

    #[test]
    fn files_that_decide_who_comes_in_or_whom_programs_trust_are_nobodys() {
        for path in [
            "/etc/authselect/system-auth",
            "/etc/ca-certificates.conf",
            "/etc/ld.so.preload",
            "/etc/nologin",
            "/etc/pam.d/sshd",
            "/etc/pki/tls/certs/ca-bundle.crt",
            "/etc/polkit-1/rules.d/x.rules",
            "/etc/resolv.conf",
            "/etc/ssl/certs/ca-certificates.crt",
            "/etc/subuid",
        ] {
            assert!(file(path).is_some(), "{path}");
        }
    }
}
