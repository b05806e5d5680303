//! What differs on this box from its platform's row: `[platform]` in `agentd.toml`, which the settings read.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Family, Platform};
use crate::system::root::Root;

/// What `agentd.toml` says instead of the platform table. Everything is optional.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlatformOverrides {
    /// The row to start from, instead of the detected one.
    pub family: Option<Family>,
    /// Apache.
    pub apache: ApacheOverrides,
    /// PHP's process manager.
    pub php: PhpOverrides,
    /// See [`Platform::cron_dir`].
    pub cron_dir: Option<PathBuf>,
    /// See [`Platform::systemctl`].
    pub systemctl: Option<PathBuf>,
    /// See [`Platform::memcached_dir`].
    pub memcached_dir: Option<PathBuf>,
    /// See [`Platform::memcached_template`].
    pub memcached_template: Option<String>,
    /// See [`Platform::templates_dir`].
    pub templates_dir: Option<PathBuf>,
    /// See [`Platform::units`]; added to the platform's own.
    pub units: BTreeMap<String, String>,
}

/// What `agentd.toml` says of Apache instead of the platform table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApacheOverrides {
    /// See [`super::Apache::dir`].
    pub dir: Option<PathBuf>,
    /// See [`super::Apache::include`].
    pub include: Option<PathBuf>,
    /// See [`super::Apache::main_config`].
    pub main_config: Option<PathBuf>,
    /// See [`super::Apache::log_dir`].
    pub log_dir: Option<PathBuf>,
    /// See [`super::Apache::test`].
    pub test: Option<Vec<String>>,
    /// See [`super::Apache::unit`].
    pub unit: Option<String>,
}

/// What `agentd.toml` says of php-fpm instead of the platform table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PhpOverrides {
    /// See [`super::Php::program`].
    pub program: Option<PathBuf>,
    /// See [`super::Php::main_config`].
    pub main_config: Option<PathBuf>,
    /// See [`super::Php::pool_dir`].
    pub pool_dir: Option<PathBuf>,
    /// See [`super::Php::socket_dir`].
    pub socket_dir: Option<PathBuf>,
}

impl PlatformOverrides {
    /// The platform of what stands under `root`, with these overrides.
    pub fn platform(&self, root: &Root) -> Platform {
        match self.family {
            Some(family) => Platform::detect_within(root, family),
            None => Platform::detect(root),
        }
        .with(self)
    }
}

impl Platform {
    /// This platform with what `overrides` says instead. `family` in it only starts from that family's
    /// row; [`PlatformOverrides::platform`] looks at the disk too.
    #[must_use]
    pub fn with(mut self, overrides: &PlatformOverrides) -> Self {
        fn set<T: Clone>(place: &mut T, value: Option<&T>) {
            if let Some(value) = value {
                place.clone_from(value);
            }
        }

        if let Some(family) = overrides.family
            && family != self.family
        {
            self = Self::of(family);
        }
        let apache = &overrides.apache;
        set(&mut self.apache.dir, apache.dir.as_ref());
        set(&mut self.apache.include, apache.include.as_ref());
        set(&mut self.apache.main_config, apache.main_config.as_ref());
        set(&mut self.apache.log_dir, apache.log_dir.as_ref());
        set(&mut self.apache.test, apache.test.as_ref());
        set(&mut self.apache.unit, apache.unit.as_ref());
        let php = &overrides.php;
        set(&mut self.php.program, php.program.as_ref());
        set(&mut self.php.main_config, php.main_config.as_ref());
        set(&mut self.php.pool_dir, php.pool_dir.as_ref());
        set(&mut self.php.socket_dir, php.socket_dir.as_ref());
        set(&mut self.cron_dir, overrides.cron_dir.as_ref());
        set(&mut self.systemctl, overrides.systemctl.as_ref());
        set(&mut self.memcached_dir, overrides.memcached_dir.as_ref());
        set(
            &mut self.memcached_template,
            overrides.memcached_template.as_ref(),
        );
        set(&mut self.templates_dir, overrides.templates_dir.as_ref());
        self.units.extend(overrides.units.clone());
        self
    }
}
