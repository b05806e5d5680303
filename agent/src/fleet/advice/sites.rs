//! Sites that may let in whom they should not, or keep out whom they should not.

use super::Advice;
use crate::fleet::check::sites::{has, overlap};
use crate::fleet::model::{Fleet, Server};
use crate::fleet::pointer::Pointer;
use crate::fleet::site::{DirectoryOption, Site};

/// Adds what is worth a second look in the sites of `fleet`.
pub(super) fn advise(fleet: &Fleet, advice: &mut Vec<Advice>) {
    for (name, product) in &fleet.products {
        let sites = Pointer::of(["signed", "products", name.as_str(), "sites"]);
        for (name, site) in &product.sites {
            of_site(fleet, site, &sites.then(name), advice);
        }
    }
}

fn of_site(fleet: &Fleet, site: &Site, at: &Pointer, advice: &mut Vec<Advice>) {
    let allow = at.then("allow");
    for (index, network) in site.allow.iter().enumerate() {
        let mut say = |message: String| {
            advice.push(Advice {
                pointer: allow.item(index),
                message,
            });
        };
        match &site.trusted_proxies {
            None => {
                let inside = |server: &&Server| has(network, server.address);
                let is_one = network.0.prefix_len() == network.0.max_prefix_len();
                if !is_one && fleet.servers.values().any(|server| inside(&server)) {
                    say(format!(
                        "the fleet's own servers are in {network}: should a balancer stand there too, everybody comes from it and is let in; name it in `trusted_proxies`, or say \"trusted_proxies\": [] where there is none"
                    ));
                }
            }
            Some(trusted) => {
                if let Some(proxy) = trusted.iter().find(|proxy| overlap(proxy, network)) {
                    say(format!(
                        "{network} and the trusted proxy {proxy} overlap: who is in both can claim any address, and the proxy's own requests are let in; keep them apart"
                    ));
                }
            }
        }
    }
    if let Some(options) = &site.options
        && ![
            DirectoryOption::FollowSymLinks,
            DirectoryOption::SymLinksIfOwnerMatch,
        ]
        .iter()
        .any(|word| options.contains(word))
    {
        advice.push(Advice {
            pointer: at.then("options"),
            message: "without FollowSymLinks, links below the root are not followed (and .htaccess files cannot rewrite): every answer through one is 403".to_owned(),
        });
    }
}
