//! PHP: what no pool of php-fpm may be told.

use std::collections::BTreeMap;

use super::Check;
use crate::fleet::names::{IniName, IniValue};
use crate::fleet::php::{Php, PoolManager};
use crate::fleet::pointer::Place;

/// The most settings, and variables, of a pool.
const MOST: usize = 200;
/// So long a request may wait, and so long an idle child may stay.
const LONGEST_SECS: u64 = 24 * 3600;

impl Check<'_> {
    pub(super) fn php(&mut self, php: &Php, at: &Place<'_>) {
        if php.user.as_str() == "root" {
            self.findings.add(&at.then("user"), || {
                "PHP never runs as root: name an account of the product's own (`users`)".to_owned()
            });
        }
        if php.idle.is_some() && php.manager != PoolManager::Ondemand {
            self.findings.add(&at.then("idle"), || {
                "`idle` is for the manager `ondemand` only: take it out".to_owned()
            });
        }
        for (name, span) in [("idle", php.idle), ("timeout", php.timeout)] {
            let secs = span.map_or(1, |span| span.duration().as_secs());
            if secs == 0 || secs > LONGEST_SECS {
                self.findings.add(&at.then(name), || {
                    "expected from one second to one day".to_owned()
                });
            }
        }
        self.ini(&php.ini, &at.then("ini"));
        self.ini(&php.fixed_ini, &at.then("fixed_ini"));
        for name in php
            .ini
            .keys()
            .filter(|name| php.fixed_ini.contains_key(*name))
        {
            self.findings.add(&at.then("ini").then(name.as_str()), || {
                format!("`{name}` stands in `fixed_ini` too: keep one of them")
            });
        }
        self.at_most(php.environment.len(), MOST, &at.then("environment"));
    }

    fn ini(&mut self, settings: &BTreeMap<IniName, IniValue>, at: &Place<'_>) {
        self.at_most(settings.len(), MOST, at);
        for name in settings.keys() {
            let instead = match name.as_str() {
                "extension" | "zend_extension" => {
                    "extensions are loaded for all pools: install the package that has it (`packages`)"
                }
                "enable_dl" | "cgi.fix_pathinfo" | "doc_root" | "user_dir" => {
                    "it decides which files are run as PHP, for the safety of all: set it in php.ini where you must (`files`)"
                }
                _ => continue,
            };
            self.findings.add(&at.then(name.as_str()), || {
                format!("`{name}` cannot be set for a pool: {instead}")
            });
        }
    }
}
