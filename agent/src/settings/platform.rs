//! `[platform]`: paths, units and commands of this box where they are other than its distribution's.

use std::path::PathBuf;

use super::mistakes::Mistakes;
use super::section::Section;
use super::values::{Argument, ServiceUnit, TemplateUnit};
use crate::fleet::names::{AbsolutePath, UnitName};
use crate::system::platform::{ApacheOverrides, Family, PhpOverrides, PlatformOverrides};

/// Reads the section and those below it.
pub(super) fn read(top: &mut Section<'_, '_>, mistakes: &mut Mistakes<'_>) -> PlatformOverrides {
    let mut section = top.section("platform", mistakes);
    let mut apache = section.section("apache", mistakes);
    let mut php = section.section("php", mistakes);
    let units = section.section("units", mistakes);
    let overrides = PlatformOverrides {
        family: section.word(
            "family",
            &[("centos", Family::Centos), ("debian", Family::Debian)],
            mistakes,
        ),
        cron_dir: path(&mut section, "cron_dir", mistakes),
        systemctl: path(&mut section, "systemctl", mistakes),
        memcached_dir: path(&mut section, "memcached_dir", mistakes),
        memcached_template: section
            .parsed("memcached_template", mistakes)
            .map(|TemplateUnit(name)| name),
        templates_dir: path(&mut section, "templates_dir", mistakes),
        apache: ApacheOverrides {
            dir: path(&mut apache, "dir", mistakes),
            include: path(&mut apache, "include", mistakes),
            main_config: path(&mut apache, "main_config", mistakes),
            log_dir: path(&mut apache, "log_dir", mistakes),
            test: command(&mut apache, "test", mistakes),
            unit: apache
                .parsed("unit", mistakes)
                .map(|ServiceUnit(name)| name),
        },
        php: PhpOverrides {
            program: path(&mut php, "program", mistakes),
            main_config: path(&mut php, "main_config", mistakes),
            pool_dir: path(&mut php, "pool_dir", mistakes),
            socket_dir: path(&mut php, "socket_dir", mistakes),
        },
        units: units
            .pairs::<UnitName>(mistakes)
            .into_iter()
            .map(|(there, here)| (without_suffix(&there), without_suffix(&here)))
            .collect(),
    };
    apache.finish(mistakes);
    php.finish(mistakes);
    section.finish(mistakes);
    overrides
}

fn path(
    section: &mut Section<'_, '_>,
    key: &'static str,
    mistakes: &mut Mistakes<'_>,
) -> Option<PathBuf> {
    let path: AbsolutePath = section.parsed(key, mistakes)?;
    Some(path.as_str().into())
}

/// A program's absolute path, and its arguments.
fn command(
    section: &mut Section<'_, '_>,
    key: &'static str,
    mistakes: &mut Mistakes<'_>,
) -> Option<Vec<String>> {
    section.list(key, mistakes, |words: &[Argument]| {
        let words: Vec<String> = words.iter().map(|word| word.0.clone()).collect();
        match words.first().map(|program| program.parse::<AbsolutePath>()) {
            Some(Ok(_)) => Ok(words),
            Some(Err(error)) => Err(format!("the program: {error}")),
            None => Err("expected a program's absolute path, and its arguments".into()),
        }
    })
}

/// The table of units knows them without it.
fn without_suffix(unit: &UnitName) -> String {
    let name = unit.as_str();
    name.strip_suffix(".service").unwrap_or(name).to_owned()
}
