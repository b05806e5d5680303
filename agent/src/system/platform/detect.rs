//! Which platform this is, from what stands on the disk.

use std::borrow::Cow;
use std::path::Path;

use super::{DEBIAN_PHP, Family, Php, Platform};
use crate::system::file::{Files, Found};
use crate::system::root::Root;

/// CentOS's name of the service.
const PHP: &str = "php-fpm";

impl Platform {
    /// The platform of what stands under `root`.
    ///
    /// By `ID` and `ID_LIKE` of os-release; where these say nothing known, by which Apache layout is
    /// there; else CentOS. Cannot fail: `family` in `agentd.toml` has the last word.
    pub fn detect(root: &Root) -> Self {
        let files = Files::new(root.clone());
        let family = os_release(&files)
            .as_deref()
            .and_then(family_of)
            .unwrap_or_else(|| family_by_layout(&files));
        Self::detect_within(root, family)
    }

    /// The row of `family`, with what only the disk under `root` can tell.
    pub fn detect_within(root: &Root, family: Family) -> Self {
        let mut platform = Self::of(family);
        if family == Family::Debian
            && let Some(version) = newest_php(&Files::new(root.clone()))
        {
            platform.php = Php::debian(&version);
            platform
                .units
                .insert(PHP.to_owned(), format!("php{version}-fpm"));
        }
        platform
    }
}

impl Platform {
    /// The same with what has come since it was made: PHP, whose service has its version in its name. What agentd.toml says
    /// of it stays.
    pub fn with_what_came(&self, files: &Files) -> Cow<'_, Self> {
        let known = self.units.get(PHP).map(String::as_str);
        let version = known.and_then(|name| {
            let version = name.strip_prefix("php")?.strip_suffix("-fpm")?;
            version.contains('.').then_some(version)
        });
        let is_found = known.is_none() || version.is_some();
        let came = (self.family == Family::Debian && is_found)
            .then(|| newest_php(files))
            .flatten();
        match came {
            Some(came) if version != Some(came.as_str()) => {
                let mut platform = self.clone();
                if self.php == Php::debian(version.unwrap_or(DEBIAN_PHP)) {
                    platform.php = Php::debian(&came);
                }
                let name = format!("php{came}-fpm");
                platform.units.insert(PHP.to_owned(), name);
                Cow::Owned(platform)
            }
            _ => Cow::Borrowed(self),
        }
    }
}

/// `/etc/os-release` is usually a symlink to the other, and symlinks are not followed.
fn os_release(files: &Files) -> Option<String> {
    ["/etc/os-release", "/usr/lib/os-release"]
        .iter()
        .find_map(|path| match files.read(Path::new(path)) {
            Ok(Found::File { bytes, .. }) => String::from_utf8(bytes).ok(),
            _ => None,
        })
}

pub(super) fn family_of(os_release: &str) -> Option<Family> {
    let value = |wanted: &str| {
        os_release
            .lines()
            .filter_map(|line| line.trim().split_once('='))
            .find_map(|(key, value)| (key == wanted).then_some(value))
            .map(|value| value.trim_matches(['"', '\'']))
            .unwrap_or_default()
    };
    // Its own name first, then what it is like, nearest first.
    std::iter::once(value("ID"))
        .chain(value("ID_LIKE").split_whitespace())
        .find_map(|name| match name {
            "centos" | "rhel" | "fedora" | "rocky" | "almalinux" | "amzn" | "ol" | "scientific" => {
                Some(Family::Centos)
            }
            "debian" | "ubuntu" => Some(Family::Debian),
            _ => None,
        })
}

fn family_by_layout(files: &Files) -> Family {
    let is_there = |dir| matches!(files.read(Path::new(dir)), Ok(Found::Directory(_)));
    if is_there("/etc/apache2") && !is_there("/etc/httpd") {
        Family::Debian
    } else {
        Family::Centos
    }
}

/// Debian keeps each PHP version's configuration in `/etc/php/VERSION`, with `fpm` in it where that is installed.
fn newest_php(files: &Files) -> Option<String> {
    let dir = Path::new("/etc/php");
    let number = |version: &str| -> Option<(u32, u32)> {
        let (major, minor) = version.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    files
        .list(dir)
        .ok()?
        .into_iter()
        .filter(|version| {
            matches!(
                files.read(&dir.join(version).join("fpm")),
                Ok(Found::Directory(_))
            )
        })
        .filter_map(|version| Some((number(&version)?, version)))
        .max()
        .map(|(_, version)| version)
}
