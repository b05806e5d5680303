//! Which servers of a product are looked at, and which of them look.

use std::collections::{BTreeMap, BTreeSet};

use super::Health;
use crate::fleet::{EvictPart, Fleet, MEMCACHED, Name, Product, Server, ServerState, WEB};

/// So many observers of each zone.
const OF_A_ZONE: usize = 3;
/// In so many zones.
const ZONES: usize = 3;

/// A server that is looked at in one part.
pub type Target = (EvictPart, Name);

/// The servers that serve a product in one part, by name: active ones that others can ask.
pub fn targets<'f>(
    fleet: &'f Fleet,
    product: &'f Name,
    part: EvictPart,
) -> impl Iterator<Item = &'f Name> + 'f {
    let can_be_asked = (fleet.products.get(product)).is_some_and(|it| can_be_asked(it, part));
    let servers = can_be_asked.then(|| fleet.servers.iter());
    servers
        .into_iter()
        .flatten()
        .filter(move |(_, server)| serves(server, product, part))
        .map(|(name, _)| name)
}

fn can_be_asked(product: &Product, part: EvictPart) -> bool {
    match part {
        EvictPart::Web => !product.sites.is_empty(),
        EvictPart::Cache => product.all_caches().any(|(_, cache)| cache.port.is_some()),
    }
}

fn serves(server: &Server, product: &Name, part: EvictPart) -> bool {
    let role = match part {
        EvictPart::Web => WEB,
        EvictPart::Cache => MEMCACHED,
    };
    server.state == ServerState::Active
        && server.roles.iter().any(|it| it.as_str() == role)
        && server.products.contains(product)
}

/// All servers of a product that can look and be looked at.
pub(super) fn everybody<'f>(fleet: &'f Fleet, product: &'f Name) -> BTreeSet<&'f Name> {
    let of = |part| targets(fleet, product, part);
    of(EvictPart::Web).chain(of(EvictPart::Cache)).collect()
}

/// The servers that look at the others: the first three of each of the first three zones, by name. Where one of them is accused, the
/// next one of its zone looks too, for it may be dead; who is out does not look.
///
/// An accusation takes nobody's place away: one who accuses all others is not left alone with that.
pub fn observers<'f>(fleet: &'f Fleet, product: &'f Name, health: &Health) -> BTreeSet<&'f Name> {
    let records = |server: &Name| EvictPart::ALL.map(|part| health.of(part).get(server));
    let is_out = |server: &Name| {
        let mut records = records(server).into_iter().flatten();
        records.any(|record| record.out.is_some())
    };
    let is_accused = |server: &Name| {
        let mut records = records(server).into_iter().flatten();
        records.any(|record| !record.seen_dead.is_empty())
    };
    let mut zones: BTreeMap<_, Vec<&Name>> = BTreeMap::new();
    for server in everybody(fleet, product) {
        let zone = fleet.servers.get(server).and_then(|it| it.zone.as_ref());
        if !is_out(server) {
            zones
                .entry(zone.map(ToString::to_string))
                .or_default()
                .push(server);
        }
    }
    let mut chosen = BTreeSet::new();
    for servers in zones.into_values().take(ZONES) {
        chosen.extend(servers.iter().take(OF_A_ZONE));
        let unaccused = servers.iter().filter(|server| !is_accused(server));
        chosen.extend(unaccused.take(OF_A_ZONE));
    }
    chosen
}
