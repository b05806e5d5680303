//! What a site needs of the box besides Apache itself: modules, a file of passwords.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use crate::fleet::Scheme;
use crate::fleet::names::SiteDomain;
use crate::node::SiteView;
use crate::system::command::{self, CommandLine};
use crate::system::file::Files;
use crate::system::platform::{Apache, Family, Platform};
use crate::system::readable::{Readable, readable};

/// How long Apache may take to list the modules that are built into it.
const LIST_DEADLINE: Duration = Duration::from_secs(10);

/// What the box has of what sites need.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// Modules that sites need and Apache has not, without `_module`: `remoteip`.
    pub missing_modules: BTreeSet<String>,
    /// The files of passwords, by path. What is not here was not looked at.
    pub passwords: BTreeMap<String, Readable>,
}

/// The modules of what a document says of a site, each with the field that needs it. `headers` is not among them: Apache's
/// test names it, and may be asked again.
fn modules(view: &SiteView) -> Vec<(&'static str, &'static str)> {
    let (site, has_php) = (&view.site, view.php.is_some());
    let mut modules = Vec::new();
    if site
        .trusted_proxies
        .as_ref()
        .is_some_and(|list| !list.is_empty())
    {
        modules.push(("remoteip", "trusted_proxies"));
    }
    if site.auth.is_some() {
        let of_auth = ["auth_basic", "authn_core", "authn_file", "authz_user"];
        modules.extend(of_auth.map(|module| (module, "auth")));
    }
    if site.scheme == Scheme::Https {
        modules.push(("env", "scheme"));
    }
    if has_php {
        modules.extend([("proxy", "php"), ("proxy_fcgi", "php")]);
    }
    if let Some(tls) = &site.tls {
        modules.push(("ssl", "tls"));
        if tls.hsts.is_some() {
            modules.push(("headers", "tls"));
        }
        if tls.redirect && site.domains.iter().any(SiteDomain::is_wildcard) {
            modules.push(("rewrite", "tls"));
        }
    }
    modules
}

/// Looks at what these sites need. `loaded`: the modules that Apache's configuration loads. Only on the machine itself.
pub(super) async fn look(
    sites: &[SiteView],
    loaded: &BTreeSet<String>,
    apache: &Apache,
    files: &Files,
) -> Needs {
    let mut needs = Needs::default();
    if !files.root().is_machine() {
        return needs;
    }
    // A template may do without, or have its own conditions.
    let default = || sites.iter().filter(|site| site.site.template.is_none());
    needs.missing_modules = default()
        .flat_map(modules)
        .filter(|(module, _)| !loaded.contains(&format!("{module}_module")))
        .map(|(module, _)| module.to_owned())
        .collect();
    if !needs.missing_modules.is_empty() {
        let built_in = built_in(apache).await;
        needs
            .missing_modules
            .retain(|module| !built_in.contains(&format!("mod_{module}.c")));
    }
    needs.passwords = default()
        .filter_map(|site| site.site.auth.as_ref())
        .map(|auth| {
            let path = auth.file.to_string();
            let found = readable(Path::new(&path));
            (path, found)
        })
        .collect();
    needs
}

/// The modules that are compiled into Apache: `mod_so.c`. All that it says; none where it does not answer.
async fn built_in(apache: &Apache) -> BTreeSet<String> {
    let Some(program) = apache.test.first() else {
        return BTreeSet::new();
    };
    let list = CommandLine::new([program.as_str(), "-l"], LIST_DEADLINE);
    match command::run(&list).await {
        Ok(output) => output
            .stdout
            .split_whitespace()
            .map(str::to_owned)
            .collect(),
        Err(_) => BTreeSet::new(),
    }
}

/// Why a site cannot be as things stand, with the field that asks for what is not there.
pub(super) fn lacks(
    site: &SiteView,
    needs: &Needs,
    platform: &Platform,
) -> Option<(String, &'static str)> {
    if site.site.template.is_some() {
        return None;
    }
    let what = format!("site {} of {}", site.name, site.product);
    let missing: Vec<_> = modules(site)
        .into_iter()
        .filter(|(module, _)| needs.missing_modules.contains(*module))
        .collect();
    if let Some((_, field)) = missing.first() {
        let names: Vec<_> = missing.iter().map(|(module, _)| *module).collect();
        let remedy = match platform.family {
            Family::Debian => format!("a2enmod {}", names.join(" ")),
            Family::Centos => {
                let lines = names
                    .iter()
                    .map(|name| format!("LoadModule {name}_module modules/mod_{name}.so"));
                let lines: Vec<String> = lines.collect();
                format!("add to a file in conf.modules.d: {}", lines.join("; "))
            }
        };
        return Some((
            format!(
                "{what}: `{field}` needs {} of Apache, not loaded here: {remedy}",
                names
                    .iter()
                    .map(|name| format!("mod_{name}"))
                    .collect::<Vec<_>>()
                    .join(", "),
            ),
            field,
        ));
    }
    let auth = site.site.auth.as_ref()?;
    let file = &auth.file;
    let why = match needs.passwords.get(file.as_str())? {
        Readable::Yes => return None,
        Readable::Missing => format!(
            "{file} is not there: make it with htpasswd -c {file} NAME, or bring it with the image"
        ),
        Readable::NoFile => format!("{file} is no file"),
        Readable::Empty => format!("{file} has no users in it: htpasswd {file} NAME adds one"),
        Readable::OnlyRoot(path) => {
            let group = match platform.family {
                Family::Debian => "www-data",
                Family::Centos => "apache",
            };
            let mode = if path.as_path() == Path::new(file.as_str()) {
                "640"
            } else {
                "750"
            };
            format!(
                "Apache cannot read {file}: {path} is for root alone; chgrp {group} {path} && chmod {mode} {path}",
                path = path.display()
            )
        }
    };
    Some((format!("{what}: {why}"), "auth"))
}
