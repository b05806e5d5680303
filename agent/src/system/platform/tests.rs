use std::fs;
use std::path::Path;

use super::*;
use crate::system::root::Root;

fn under(lay_out: impl Fn(&Path)) -> Platform {
    let dir = tempfile::tempdir().unwrap();
    lay_out(dir.path());
    Platform::detect(&Root::under(dir.path()).unwrap())
}

#[expect(
    clippy::disallowed_methods,
    reason = "lays out a scratch directory for the test"
)]
fn file(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn os_release_decides() {
    for (text, family) in [
        (
            "NAME=\"CentOS Linux\"\nID=\"centos\"\nID_LIKE=\"rhel fedora\"\n",
            Family::Centos,
        ),
        ("ID=rocky\nID_LIKE=\"rhel centos fedora\"", Family::Centos),
        ("ID=\"amzn\"\nID_LIKE=\"fedora\"", Family::Centos),
        ("PRETTY_NAME='Debian'\nID=debian", Family::Debian),
        ("ID=linuxmint\nID_LIKE='ubuntu debian'", Family::Debian),
        (
            "VERSION_ID=9\nID=newcomer\nID_LIKE=\"unheard rhel\"",
            Family::Centos,
        ),
    ] {
        assert_eq!(detect::family_of(text), Some(family), "{text}");
    }
    assert_eq!(detect::family_of("ID=gentoo\n"), None);
    assert_eq!(detect::family_of(""), None);
}

#[test]
fn the_symlink_that_os_release_is_does_not_hide_it() {
    let platform = under(|dir| {
        file(dir, "usr/lib/os-release", "ID=debian\n");
        fs::create_dir(dir.join("etc")).unwrap();
        std::os::unix::fs::symlink("../usr/lib/os-release", dir.join("etc/os-release")).unwrap();
    });
    assert_eq!(platform.family, Family::Debian);
}

#[test]
fn an_unknown_system_is_known_by_its_apache_else_centos() {
    let debian = under(|dir| fs::create_dir_all(dir.join("etc/apache2")).unwrap());
    assert_eq!(debian.family, Family::Debian);
    assert_eq!(under(|_| ()), Platform::of(Family::Centos));
    let odd = under(|dir| file(dir, "etc/os-release", "ID=gentoo\n"));
    assert_eq!(odd.family, Family::Centos);
}

#[test]
fn units_have_their_names_here() {
    let centos = Platform::of(Family::Centos);
    assert_eq!(centos.unit("httpd"), "httpd.service");
    assert_eq!(centos.unit("httpd.service"), "httpd.service");
    assert_eq!(centos.unit("logrotate.timer"), "logrotate.timer");
    assert_eq!(centos.unit("a@b.c"), "a@b.c.service");

    let debian = Platform::of(Family::Debian);
    assert_eq!(debian.unit("httpd"), "apache2.service");
    assert_eq!(debian.unit("httpd.service"), "apache2.service");
    assert_eq!(debian.unit("crond"), "cron.service");
    assert_eq!(debian.unit("sshd.socket"), "ssh.socket");
    assert_eq!(debian.unit("mariadb"), "mariadb.service");
    assert_eq!(debian.unit("php-fpm"), "php-fpm.service");
}

#[test]
fn debians_php_is_the_newest_that_is_installed() {
    let platform = under(|dir| {
        file(dir, "etc/os-release", "ID=debian\n");
        for version in ["7.4/fpm", "8.2/fpm", "8.10/fpm", "8.11/cli"] {
            fs::create_dir_all(dir.join("etc/php").join(version)).unwrap();
        }
    });
    assert_eq!(platform.unit("php-fpm"), "php8.10-fpm.service");
}

#[test]
fn overrides_replace_only_what_they_name() {
    let overrides = PlatformOverrides {
        family: Some(Family::Debian),
        cron_dir: Some("/opt/cron.d".into()),
        apache: ApacheOverrides {
            log_dir: Some("/logs".into()),
            test: Some(vec!["/opt/httpd/bin/httpd".into(), "-t".into()]),
            ..ApacheOverrides::default()
        },
        units: [("php-fpm".to_owned(), "php-fpm83".to_owned())].into(),
        ..PlatformOverrides::default()
    };
    let platform = Platform::of(Family::Centos).with(&overrides);
    let mut expected = Platform::of(Family::Debian);
    expected.cron_dir = "/opt/cron.d".into();
    expected.apache.log_dir = "/logs".into();
    expected.apache.test = vec!["/opt/httpd/bin/httpd".into(), "-t".into()];
    expected.units.insert("php-fpm".into(), "php-fpm83".into());
    assert_eq!(platform, expected);
    let none = PlatformOverrides::default();
    assert_eq!(
        Platform::of(Family::Centos).with(&none),
        Platform::of(Family::Centos)
    );
}
