//! A site as the files of a generation: its virtual hosts, with exact names and with wildcards, or what its override template gives.

use super::facts::{ApacheFacts, TEMPLATE_LIMIT, template_path};
use super::names::{self, Part};
use super::vhost::{self, Guarded};
use super::{neighbours, quote, template, tls};
use crate::node::SiteView;
use crate::resource::LineOrigin;
use crate::system::platform::Platform;

/// A site as text: its vhosts, each a file. The first has its exact names.
pub(super) struct Vhost {
    pub(super) files: Vec<Piece>,
    /// It answers the agent's probe: always, save where an override template leaves that out.
    pub(super) answers: bool,
    /// What is asked of it besides its first name: a name for each of its wildcards.
    pub(super) wildcards: Vec<String>,
}

impl Vhost {
    /// The error says what is wrong with the site's override template.
    pub(super) fn render(
        site: &SiteView,
        addresses: &str,
        platform: &Platform,
        facts: &ApacheFacts,
    ) -> Result<Self, String> {
        let apache = &platform.apache;
        let Some(name) = &site.site.template else {
            return Ok(Self::usual(site, addresses, platform, facts));
        };
        let origin = site.origin.then("template");
        let path = template_path(platform, name.as_str());
        let mistake = |what: String| {
            format!(
                "site {} of {}: {}: {what}",
                site.name,
                site.product,
                path.display()
            )
        };
        let source = facts.templates.get(name.as_str()).ok_or_else(|| {
            mistake(format!(
                "no such template on this box, or not a UTF-8 file (links are not followed) of at most {} KiB",
                TEMPLATE_LIMIT / 1024
            ))
        })?;
        let own = template::render(name.as_str(), source, site, platform, addresses);
        let own = own.map_err(mistake)?;
        let mut lines = vhost::heading(site);
        lines.add(&format!("# From the override template {}.", path.display()));
        lines.add(quote::defines_for(&own));
        lines.add(&own);
        let answers = vhost::answers_probe(lines.text(), site, apache);
        let (text, origins) = lines.finish([site.origin.clone(), origin]);
        Ok(Self {
            files: vec![Piece {
                name: Part::whole(site).file(site),
                text,
                origins,
            }],
            answers,
            wildcards: Vec::new(),
        })
    }

    /// Without a template.
    fn usual(site: &SiteView, addresses: &str, platform: &Platform, facts: &ApacheFacts) -> Self {
        let apache = &platform.apache;
        let parts = Part::all(site);
        let elsewhere: Vec<String> = (parts.iter().skip(1))
            .flat_map(|part| part.names.iter().map(|(_, name)| name.to_string()))
            .collect();
        let files = parts.iter().map(|part| {
            let engine = tls::engine(site, facts);
            let mut vhost = vhost::whole(site, part, platform, Guarded::Plain, addresses, engine);
            if let Some(port) = site.site.redirect_port() {
                let plain = [port.get()];
                let addresses = facts.addresses(&plain);
                let addresses = addresses.unwrap_or_else(|_| neighbours::alone(&plain));
                vhost.append(vhost::sending_on(site, part, apache, &addresses));
            }
            let mut lines = vhost::heading(site);
            if !elsewhere.is_empty() {
                lines.add(&format!(
                    "# {} of this site: in files of their own, read after the exact names of all sites.",
                    elsewhere.join(" ")
                ));
            }
            lines.add(quote::defines_for(vhost.text()));
            lines.append(vhost);
            let (text, origins) = lines.finish([site.origin.clone()]);
            Piece {
                name: part.file(site),
                text,
                origins,
            }
        });
        let files = files.collect();
        let wildcards = site.site.domains.iter().filter(|name| name.is_wildcard());
        Self {
            files,
            answers: true,
            wildcards: wildcards.map(names::example).collect(),
        }
    }

    /// All of its files.
    pub(super) fn text(&self) -> String {
        let texts = self.files.iter().map(|file| file.text.as_str());
        texts.collect()
    }
}

/// A file of a generation.
#[derive(Clone)]
pub(super) struct Piece {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) origins: Vec<LineOrigin>,
}

/// All of a file is asked for by its site.
pub(super) fn whole(site: &SiteView) -> Vec<LineOrigin> {
    vec![LineOrigin {
        line: None,
        pointer: site.origin.clone(),
    }]
}
