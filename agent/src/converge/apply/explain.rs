//! What Apache's configuration test complains of, told the other way round: the reason first, then the line as it is
//! written, then what mends it. The file that it names is gone once the step is put back; what stands in it is not. Pure.

use super::super::change::After;
use super::super::plan::PlannedStep;
use crate::resource::Member;
use crate::system::platform::Family;

/// The most characters of a line that are quoted.
const QUOTED: usize = 120;

/// What a complaint comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Explanation {
    /// The site whose file it is about: `site shop/www`.
    pub(super) whose: Option<String>,
    /// The reason, the line, the remedy: one sentence.
    pub(super) reason: String,
    /// What else was said, in lines.
    pub(super) rest: Vec<String>,
}

impl Explanation {
    /// The sentence with whose file it is about before it.
    pub(super) fn headline(&self) -> String {
        match &self.whose {
            Some(whose) => format!("{whose}: {}", self.reason),
            None => self.reason.clone(),
        }
    }
}

/// Explains a complaint; `None` where it is not of the form in which Apache complains of a line.
pub(super) fn explain(said: &str, step: &PlannedStep, family: Family) -> Option<Explanation> {
    let mut rest: Vec<String> = Vec::new();
    let mut found = None;
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    while let Some(line) = lines.next() {
        match place(line) {
            Some((number, file, after)) if found.is_none() => {
                let why = if after.is_empty() {
                    lines.next().unwrap_or_default().to_owned()
                } else {
                    after.to_owned()
                };
                found = Some((number, file.to_owned(), why));
            }
            _ => rest.push(line.to_owned()),
        }
    }
    let (number, file, why) = found?;
    if why.is_empty() {
        return None;
    }
    let name = file.rsplit('/').next().unwrap_or_default();
    let member = step
        .members
        .iter()
        .find(|member: &&Member| member.file == name);
    let mut reason = why.clone();
    match text_of(step, name).and_then(|text| text.lines().nth(number.checked_sub(1)?)) {
        Some(line) => {
            let line: String = line.trim().chars().take(QUOTED).collect();
            reason = format!("{reason}: line {number} is `{line}`");
        }
        None => reason = format!("{reason}: line {number} of {file}"),
    }
    if let Some(remedy) = directive(&why).and_then(|name| remedy(name, family)) {
        reason = format!("{reason}; {remedy}");
    }
    Some(Explanation {
        whose: member.map(|member| format!("site {}", member.name)),
        reason,
        rest,
    })
}

/// The line's number, the file, and what follows: of `AH00526: Syntax error on line 3 of /etc/x.conf:`.
fn place(line: &str) -> Option<(usize, &str, &str)> {
    let (_, rest) = line.split_once("yntax error on line ")?;
    let (number, rest) = rest.split_once(" of ")?;
    let (file, after) = rest.split_once(':')?;
    Some((number.parse().ok()?, file, after.trim()))
}

/// What the step would write into a file of this name.
fn text_of<'a>(step: &'a PlannedStep, name: &str) -> Option<&'a str> {
    step.changes.iter().find_map(|change| {
        let is_it = change.thing.path()?.file_name()?.to_str()? == name;
        match &change.after {
            Some(After::File { text, .. }) if is_it => text.shown(),
            _ => None,
        }
    })
}

/// The directive that Apache does not know: of `Invalid command 'Header', perhaps misspelled …`.
fn directive(why: &str) -> Option<&str> {
    let (_, rest) = why.split_once("Invalid command '")?;
    Some(rest.split_once('\'')?.0)
}

/// What makes Apache know a directive, where it is one of a module that sites often use.
fn remedy(directive: &str, family: Family) -> Option<String> {
    let lower = directive.to_ascii_lowercase();
    let begins = |prefix: &str| lower.starts_with(prefix);
    let module = match lower.as_str() {
        "header" | "requestheader" => "headers",
        "proxypreservehost" | "proxyrequests" => "proxy",
        "expiresactive" | "expiresbytype" | "expiresdefault" => "expires",
        "addoutputfilterbytype" => "filter",
        "sethandler" | "action" | "script" => "actions",
        "browsermatch" | "setenvif" | "setenvifnocase" => "setenvif",
        "authuserfile" => "authn_file",
        "authldapurl" => "authnz_ldap",
        "substitute" => "substitute",
        "xsendfile" | "xsendfilepath" => "xsendfile",
        _ if begins("rewrite") => "rewrite",
        _ if begins("remoteip") => "remoteip",
        _ if begins("ssl") => "ssl",
        _ if begins("proxy") => "proxy",
        _ if begins("deflate") => "deflate",
        _ if begins("brotli") => "brotli",
        _ if begins("dav") => "dav",
        _ if begins("cache") => "cache",
        _ if begins("php_") => "php",
        _ => return None,
    };
    Some(match family {
        Family::Debian => format!("a2enmod {module}, then agentctl apply --retry"),
        Family::Centos => format!(
            "load mod_{module} (a LoadModule line in /etc/httpd/conf.modules.d; is its package installed?), then agentctl apply --retry"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_complaint_is_read() {
        let (file, line) = ("/etc/httpd/agentd/3f2a/shop_www.conf", 12);
        for said in [
            format!("AH00526: Syntax error on line {line} of {file}:"),
            format!("Syntax error on line {line} of {file}:"),
            format!("httpd: Syntax error on line {line} of {file}: Could not open it"),
        ] {
            let (number, of, _) = place(&said).unwrap();
            assert_eq!((number, of), (line, file), "{said}");
        }
        assert_eq!(place("Syntax OK"), None);
    }

    #[test]
    fn a_directive_of_a_module_that_is_not_loaded_has_a_remedy() {
        let why = "Invalid command 'Header', perhaps misspelled or defined by a module not included in the server configuration";
        let name = directive(why).unwrap();
        let debian = remedy(name, Family::Debian).unwrap();
        assert!(debian.starts_with("a2enmod headers, "), "{debian}");
        let centos = remedy(name, Family::Centos).unwrap();
        assert!(centos.starts_with("load mod_headers "), "{centos}");
        assert_eq!(remedy("Frobnicate", Family::Debian), None);
    }
}
