//! Sites that are served from a release that there is none of, and releases that no site is served from.

use super::Advice;
use crate::fleet::model::{Fleet, Product};
use crate::fleet::names::Name;
use crate::fleet::pointer::Pointer;
use crate::fleet::release::{below_current, home, product_of_current};

/// Adds what is worth a second look in the releases of `fleet`.
pub(super) fn advise(fleet: &Fleet, advice: &mut Vec<Advice>) {
    for (name, product) in &fleet.products {
        let at = Pointer::of(["signed", "products", name.as_str()]);
        of_sites(fleet, name, product, &at.then("sites"), advice);
        let is_served = (product.sites.values())
            .filter_map(|site| site.root.as_ref())
            .any(|root| below_current(root, name).is_some());
        if product.release.is_some() && !product.sites.is_empty() && !is_served {
            advice.push(Advice {
                pointer: at.then("release"),
                message: format!(
                    "no site of the product has its root below {}/current: a release is switched to without a reload, and PHP may run old code for minutes",
                    home(name)
                ),
            });
        }
        if !product.smoke.is_empty() || product.release.is_none() || !is_served {
            continue;
        }
        advice.push(Advice {
            pointer: at.then("release"),
            message: "the product has no `smoke` test: a release that answers every request with an error would stay".to_owned(),
        });
    }
}

fn of_sites(fleet: &Fleet, name: &Name, product: &Product, at: &Pointer, advice: &mut Vec<Advice>) {
    for (site_name, site) in &product.sites {
        let Some(root) = &site.root else { continue };
        let mut say = |message: String| {
            advice.push(Advice {
                pointer: at.then(site_name).then("root"),
                message,
            });
        };
        match product_of_current(root) {
            Some(of) if of == name.as_str() && product.release.is_none() => say(format!(
                "{root} is below what releases are switched by, and the product has no `release`: who switches that link must reload Apache too, or old code is served for a while"
            )),
            Some(of)
                if of != name.as_str()
                    && fleet
                        .products
                        .get(of)
                        .is_some_and(|other| other.release.is_some()) =>
            {
                say(format!(
                    "{root} is the release of the product `{of}`: this site goes through the link and is not switched with it. Make it a site of `{of}`"
                ));
            }
            _ => {}
        }
    }
}
