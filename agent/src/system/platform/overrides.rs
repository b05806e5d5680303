//! The `[platform]` table of `agentd.toml`: what differs on this box from its platform's row.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Family, Platform};
use crate::system::root::Root;

/// What `agentd.toml` says instead of the platform table. Everything is optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlatformOverrides {
    /// The row to start from, instead of the detected one.
    pub family: Option<Family>,
    /// Apache.
    pub apache: ApacheOverrides,
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
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
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

impl PlatformOverrides {
    /// The platform of what stands under `root`, with these overrides.
    pub fn platform(&self, root: &Root) -> Platform {
        match self.family {
            Some(family) => Platform::detect_within(root, family),
            None => Platform::detect(root),
        }
        .with(self)
    }

    /// What is wrong with the values, as `key: what is expected`. Empty: nothing.
    pub fn mistakes(&self) -> Vec<String> {
        let apache = &self.apache;
        let program = apache
            .test
            .as_ref()
            .map(|test| PathBuf::from(test.first().map_or("", String::as_str)));
        let paths = [
            ("apache.dir", &apache.dir),
            ("apache.include", &apache.include),
            ("apache.main_config", &apache.main_config),
            ("apache.log_dir", &apache.log_dir),
            ("apache.test", &program),
            ("cron_dir", &self.cron_dir),
            ("systemctl", &self.systemctl),
            ("memcached_dir", &self.memcached_dir),
            ("templates_dir", &self.templates_dir),
        ];
        let mut mistakes: Vec<String> = paths
            .into_iter()
            .filter_map(|(key, path)| Some((key, path.as_deref()?)))
            .filter(|(_, path)| !is_plain(path))
            .map(|(key, path)| {
                format!(
                    "platform.{key}: expected an absolute path without `..`, found `{}`",
                    path.display()
                )
            })
            .collect();
        if let Some(template) = &self.memcached_template
            && (!template.ends_with('@') || template.contains('/'))
        {
            mistakes.push(format!(
                "platform.memcached_template: expected a template unit's name up to its `@`, found `{template}`"
            ));
        }
        mistakes
    }
}

fn is_plain(path: &Path) -> bool {
    use std::path::Component::{Normal, RootDir};

    path.is_absolute()
        && path.file_name().is_some()
        && path
            .components()
            .all(|part| matches!(part, RootDir | Normal(_)))
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
