//! What well-known packages of CentOS are called on Debian.

use super::{Family, Platform};

/// Packages of CentOS that are parts of another one on Debian, which stands beside them in the table: who wants one gone does not
/// want that one gone.
const PARTS: [&str; 8] = [
    "mod_http2",
    "mod_ldap",
    "mod_proxy_html",
    "mod_session",
    "mod_ssl",
    "php-opcache",
    "php-pdo",
    "php-process",
];

/// CentOS's name, and Debian's. What is a part of another package there stands with that one's name.
const DEBIAN_PACKAGES: [(&str, &str); 50] = [
    ("MariaDB-server", "mariadb-server"),
    ("ImageMagick", "imagemagick"),
    ("bind", "bind9"),
    ("bind-utils", "bind9-dnsutils"),
    ("cronie", "cron"),
    ("dhcp-server", "isc-dhcp-server"),
    ("dovecot", "dovecot-imapd"),
    ("gcc-c++", "g++"),
    ("gnupg2", "gnupg"),
    ("httpd", "apache2"),
    ("httpd-devel", "apache2-dev"),
    ("httpd-tools", "apache2-utils"),
    ("iproute", "iproute2"),
    ("iptables-services", "iptables-persistent"),
    ("java-17-openjdk-headless", "openjdk-17-jre-headless"),
    ("krb5-workstation", "krb5-user"),
    ("libmemcached", "libmemcached-tools"),
    ("lm_sensors", "lm-sensors"),
    ("mailx", "bsd-mailx"),
    ("mariadb", "mariadb-client"),
    // Loaded by a2enmod where Debian has it switched off.
    ("mod_http2", "apache2"),
    ("mod_ldap", "apache2"),
    ("mod_proxy_html", "apache2"),
    ("mod_security", "libapache2-mod-security2"),
    ("mod_session", "apache2"),
    ("mod_ssl", "apache2"),
    ("mysql", "mysql-client"),
    ("nagios", "nagios4"),
    ("nagios-plugins-all", "monitoring-plugins"),
    ("nfs-utils", "nfs-common"),
    ("nmap-ncat", "ncat"),
    ("nrpe", "nagios-nrpe-server"),
    ("openldap-clients", "ldap-utils"),
    ("openssh-clients", "openssh-client"),
    ("openssl-devel", "libssl-dev"),
    ("perl-DBD-MySQL", "libdbd-mysql-perl"),
    ("perl-libwww-perl", "libwww-perl"),
    ("php-mysqlnd", "php-mysql"),
    ("php-opcache", "php-common"),
    ("php-pdo", "php-common"),
    ("php-pecl-apcu", "php-apcu"),
    ("php-pecl-imagick", "php-imagick"),
    ("php-pecl-memcache", "php-memcache"),
    ("php-pecl-memcached", "php-memcached"),
    ("php-pecl-redis5", "php-redis"),
    ("php-process", "php-common"),
    ("postgresql-server", "postgresql"),
    ("procps-ng", "procps"),
    ("redis", "redis-server"),
    ("vim-enhanced", "vim"),
];

/// What a package is called on Debian that a document calls by CentOS's name.
pub fn debian_package(centos_name: &str) -> &str {
    DEBIAN_PACKAGES
        .iter()
        .find(|(there, _)| *there == centos_name)
        .map_or(centos_name, |&(_, here)| here)
}

impl Platform {
    /// What a package is called here. `debian`: what the document itself says of Debian.
    pub fn package<'n>(&self, centos_name: &'n str, debian: Option<&'n str>) -> &'n str {
        match self.family {
            Family::Centos => centos_name,
            Family::Debian => debian.unwrap_or_else(|| debian_package(centos_name)),
        }
    }

    /// Whether it is only a part of what [`Self::package`] calls it here.
    pub fn is_part(&self, centos_name: &str, debian: Option<&str>) -> bool {
        self.family == Family::Debian && debian.is_none() && PARTS.contains(&centos_name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_translated_where_they_differ() {
        let (centos, debian) = (Platform::of(Family::Centos), Platform::of(Family::Debian));
        assert_eq!(debian.package("httpd", None), "apache2");
        assert_eq!(debian.package("mod_ssl", None), "apache2");
        assert_eq!(debian.package("memcached", None), "memcached");
        assert_eq!(debian.package("httpd", Some("nginx")), "nginx");
        assert_eq!(centos.package("httpd", Some("nginx")), "httpd");
    }

    #[test]
    fn what_is_a_part_of_another_package_on_debian_is_known_as_one() {
        let (centos, debian) = (Platform::of(Family::Centos), Platform::of(Family::Debian));
        for part in PARTS {
            assert!(debian.is_part(part, None) && !centos.is_part(part, None));
            assert!(!debian.is_part(part, Some("said-so")));
            assert_ne!(debian_package(part), part);
        }
        assert!(!debian.is_part("httpd", None));
        // Two of CentOS's packages that have one name here: all but one of them are parts, or all are.
        for (name, here) in DEBIAN_PACKAGES {
            let alike = DEBIAN_PACKAGES.iter().filter(|(_, other)| *other == here);
            let whole = alike.filter(|(name, _)| !PARTS.contains(name)).count();
            assert!(
                whole <= 1,
                "{name}: {here} stands for {whole} whole packages"
            );
        }
    }

    #[test]
    fn no_name_stands_twice_and_none_for_nothing() {
        let mut seen = std::collections::BTreeSet::new();
        for (there, here) in DEBIAN_PACKAGES {
            assert!(seen.insert(there), "{there} stands twice");
            assert!(there != here, "{there} is the same on Debian");
        }
    }
}
