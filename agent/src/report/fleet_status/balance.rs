//! How a product's servers of one role are spread over zones, and what remains of them if a zone is lost.

use std::collections::BTreeMap;

use serde::Serialize;

use super::ServerRow;
use crate::fleet::names::ZoneName;
use crate::fleet::{Name, ServerState};
use crate::report::{Ready, ReportedReadiness};

/// The servers of one role of a product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Balance {
    /// The product.
    pub product: Name,
    /// The role. `None`: servers of the product that have no role.
    pub role: Option<Name>,
    /// How many active servers the document has for it.
    pub servers: usize,
    /// How many of them work: heard lately, all services up, the product not unready.
    pub working: usize,
    /// Zone by zone; servers of no zone are counted as in one of their own.
    pub zones: Vec<ZoneShare>,
    /// How many working servers remain if the zone is lost that has most of them.
    pub remain: usize,
}

/// What of it stands in one zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ZoneShare {
    /// The zone. `None`: the document does not say.
    pub zone: Option<ZoneName>,
    /// Active servers there.
    pub servers: usize,
    /// Those that work.
    pub working: usize,
    /// Working servers elsewhere: what remains if this zone is lost.
    pub remain: usize,
}

/// Where least remains first.
pub(super) fn of(rows: &[ServerRow]) -> Vec<Balance> {
    type Zones<'a> = BTreeMap<Option<&'a ZoneName>, (usize, usize)>;
    let mut groups: BTreeMap<(&Name, Option<&Name>), Zones<'_>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.state == ServerState::Active) {
        let roles: Vec<Option<&Name>> = match row.roles.as_slice() {
            [] => vec![None],
            roles => roles.iter().map(Some).collect(),
        };
        for product in &row.products {
            for role in &roles {
                let zones = groups.entry((product, *role)).or_default();
                let (servers, working) = zones.entry(row.zone.as_ref()).or_default();
                *servers += 1;
                *working += usize::from(works(row, product));
            }
        }
    }
    let mut balances: Vec<Balance> = groups
        .into_iter()
        .map(|((product, role), zones)| {
            let working: usize = zones.values().map(|(_, working)| working).sum();
            let shares: Vec<ZoneShare> = zones
                .iter()
                .map(|(zone, (servers, here))| ZoneShare {
                    zone: zone.cloned(),
                    servers: *servers,
                    working: *here,
                    remain: working - here,
                })
                .collect();
            Balance {
                product: product.clone(),
                role: role.cloned(),
                servers: zones.values().map(|(servers, _)| servers).sum(),
                working,
                remain: shares.iter().map(|share| share.remain).min().unwrap_or(0),
                zones: shares,
            }
        })
        .collect();
    // Half of many is less of a worry than one of two: what counts is the share that remains.
    balances.sort_by(|one, other| {
        let left = one.remain * other.servers.max(1);
        let right = other.remain * one.servers.max(1);
        left.cmp(&right)
            .then_with(|| (&one.product, &one.role).cmp(&(&other.product, &other.role)))
    });
    balances
}

fn works(row: &ServerRow, product: &Name) -> bool {
    let unready = |of: &ReportedReadiness| of.product == *product && of.ready == Ready::False;
    row.health.works() && row.services_down.is_empty() && !row.readiness.iter().any(unready)
}
