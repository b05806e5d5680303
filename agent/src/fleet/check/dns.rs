//! Names of products in DNS: within their zone, and each of one product alone.

use std::collections::BTreeMap;

use super::{Check, PRODUCTS};
use crate::fleet::dns::Dns;
use crate::fleet::names::Name;
use crate::fleet::pointer::{Place, Pointer};

/// The most names of a product.
const MOST_NAMES: usize = 50;

/// Which product has which name, and where it says so.
pub(super) type DnsNames<'f> = BTreeMap<&'f str, (&'f Name, Pointer)>;

impl<'f> Check<'f> {
    pub(super) fn dns(&mut self, names: &mut DnsNames<'f>, product: &'f Name, dns: &'f Dns) {
        let at = PRODUCTS.place.then(product.as_str());
        let at = at.then("dns");
        let list = at.then("names");
        if dns.names.is_empty() && !self.findings.is_doubtful(&list) {
            self.findings.add(&list, || {
                "expected at least one name; found an empty list".to_owned()
            });
        }
        self.at_most(dns.names.len(), MOST_NAMES, &list);
        self.list(&dns.names, &list, MOST_NAMES);
        for (index, name) in dns.names.iter().take(MOST_NAMES).enumerate() {
            let place = self.findings.item(&list, index);
            if self.findings.is_doubtful(&place) || self.findings.is_doubtful(&at.then("zone")) {
                continue;
            }
            if !is_within(name.as_str(), dns.zone.as_str()) {
                let zone = &dns.zone;
                self.findings
                    .add(&place, || format!("`{name}` is not in the zone `{zone}`"));
            }
            self.claim_dns_name(names, product, name.as_str(), &place);
        }
    }

    fn claim_dns_name(
        &mut self,
        names: &mut DnsNames<'f>,
        product: &'f Name,
        name: &'f str,
        at: &Place<'_>,
    ) {
        match names.get(name) {
            Some((other, there)) if *other != product => {
                // Two products on other servers would each have their visitors come to the other's.
                self.findings.add(at, || {
                    format!("`{name}` is a name of the product `{other}` too ({there})")
                });
            }
            Some(_) => {}
            None => {
                names.insert(name, (product, at.pointer()));
            }
        }
    }
}

fn is_within(name: &str, zone: &str) -> bool {
    name.strip_suffix(zone)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}
