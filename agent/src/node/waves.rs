//! Which server takes a version in which wave. Pure: every machine and every desk works out the same.
//!
//! Servers are drawn anew for each version, so that it is not always the same ones that are first; and evenly from each group of
//! servers with the same roles, products and zone, so that no wave has all of a product's servers, or all of a zone's, that need
//! not.

use std::collections::{BTreeMap, BTreeSet};

use crate::fleet::{Fleet, Name, Rollout, Server, ServerState};
use crate::system::digest::sha256;

/// 2⁶⁴ divided by the golden ratio: multiples of it, modulo 2⁶⁴, lie as evenly as can be, however many there are.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
/// So many servers may watch over a rollout, the later ones where the earlier ones are silent.
const MOST_WATCHERS: usize = 5;

/// The waves of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waves {
    /// The servers in the order in which they take the version.
    order: Vec<Name>,
    /// How many of them have it after each wave.
    ends: Vec<usize>,
    wave_of: BTreeMap<Name, u32>,
}

impl Waves {
    /// Those of a document; `None` where all servers take it at once.
    pub fn of(fleet: &Fleet) -> Option<Self> {
        let rollout = fleet.rollout.as_ref()?;
        let takes_part = |(_, server): &(&Name, &Server)| server.state != ServerState::Retired;
        let canaries: BTreeSet<&Name> = rollout.canaries.iter().collect();
        let (first, rest): (Vec<_>, Vec<_>) = (fleet.servers.iter())
            .filter(takes_part)
            .partition(|(name, _)| canaries.contains(name));
        let mut order: Vec<Name> = first.into_iter().map(|(name, _)| name.clone()).collect();
        let canaries = order.len();
        order.extend(drawn(rest, fleet.version));
        let ends = ends(rollout, canaries, order.len());
        if ends.len() < 2 {
            return None;
        }
        let mut wave_of = BTreeMap::new();
        let mut start = 0;
        for (wave, end) in (0_u32..).zip(&ends) {
            let members = order.get(start..*end).unwrap_or_default();
            wave_of.extend(members.iter().map(|name| (name.clone(), wave)));
            start = *end;
        }
        Some(Self {
            order,
            ends,
            wave_of,
        })
    }

    /// How many there are: two at least.
    pub fn count(&self) -> u32 {
        u32::try_from(self.ends.len()).unwrap_or(u32::MAX)
    }

    /// The last one.
    pub fn last(&self) -> u32 {
        self.count() - 1
    }

    /// A server's wave, counted from 0. `None`: it takes no part, for it is retired or not in the document.
    pub fn of_server(&self, server: &Name) -> Option<u32> {
        self.wave_of.get(server).copied()
    }

    /// All servers that have the version once `wave` has taken it, in order.
    pub fn until(&self, wave: u32) -> &[Name] {
        let wave = usize::try_from(wave).unwrap_or(usize::MAX);
        let end = self.ends.get(wave).or(self.ends.last());
        self.order
            .get(..end.copied().unwrap_or_default())
            .unwrap_or_default()
    }

    /// The servers that watch over the rollout, the first of them that lives: canaries before others.
    pub fn watchers(&self) -> &[Name] {
        let end = MOST_WATCHERS.min(self.order.len());
        self.order.get(..end).unwrap_or_default()
    }
}

/// How many servers have the version after each wave; waves that would bring it to nobody are left out.
fn ends(rollout: &Rollout, canaries: usize, all: usize) -> Vec<usize> {
    let shares = rollout.waves.iter().map(|share| share.of(all));
    let mut ends: Vec<usize> = Vec::new();
    for end in std::iter::once(canaries).chain(shares) {
        if end > ends.last().copied().unwrap_or_default() {
            ends.push(end);
        }
    }
    ends
}

/// Servers in an order that is another one for each version, and takes evenly from each group of like servers.
fn drawn(servers: Vec<(&Name, &Server)>, version: u64) -> Vec<Name> {
    let hash = |text: &str| {
        let digest = sha256(text.as_bytes());
        let first = digest.iter().take(8);
        first.fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte))
    };
    let group = |server: &Server| {
        let sorted = |names: &[Name]| names.iter().cloned().collect::<BTreeSet<Name>>();
        let zone = server.zone.as_ref().map(ToString::to_string);
        (sorted(&server.roles), sorted(&server.products), zone)
    };
    let mut servers: Vec<_> = servers
        .into_iter()
        .map(|(name, server)| (group(server), hash(&format!("{version}/{name}")), name))
        .collect();
    servers.sort_unstable();
    // Like servers stand side by side, so their places are spread over the whole order. Where that begins differs too.
    let begin = hash(&version.to_string());
    let mut order: Vec<(u64, &Name)> = (0_u64..)
        .zip(&servers)
        .map(|(index, (_, _, name))| (index.wrapping_mul(GOLDEN).wrapping_add(begin), *name))
        .collect();
    order.sort_unstable();
    order.into_iter().map(|(_, name)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `groups`: how many servers, and what they are.
    fn fleet(version: u64, groups: &[(usize, &str)], rollout: &str) -> Fleet {
        let mut servers = Vec::new();
        for (group, (count, what)) in groups.iter().enumerate() {
            for one in 0..*count {
                let address = format!("10.{group}.{}.{}", one / 250, one % 250 + 1);
                servers.push(format!(
                    r#""s{group}-{one}": {{"address": "{address}", {what}}}"#
                ));
            }
        }
        let json = format!(
            r#"{{"format": 1, "fleet": "f", "version": {version}, "issued": "2026-01-01T00:00:00Z", "expires": "2027-01-01T00:00:00Z",
                "rollout": {rollout}, "servers": {{{}}}}}"#,
            servers.join(",")
        );
        serde_json::from_str(&json).unwrap()
    }

    const A: &str = r#""roles": ["web"], "zone": "a""#;
    const B: &str = r#""roles": ["web"], "zone": "b""#;
    const DB: &str = r#""roles": ["database"], "zone": "a""#;

    #[test]
    fn canaries_come_first_and_shares_count_them() {
        let rollout = r#"{"canaries": ["s0-3"], "waves": ["25%", "100%"], "bake": "5m"}"#;
        let waves = Waves::of(&fleet(1, &[(10, A), (10, B)], rollout)).unwrap();
        assert_eq!(waves.count(), 3);
        assert_eq!(waves.until(0), ["s0-3".parse::<Name>().unwrap()]);
        assert_eq!(waves.until(1).len(), 5);
        assert_eq!(waves.until(2).len(), 20);
        assert_eq!(waves.of_server(&"s0-3".parse().unwrap()), Some(0));
        assert_eq!(waves.of_server(&"other".parse().unwrap()), None);
    }

    #[test]
    fn each_group_gives_its_share_and_never_all_of_it() {
        let rollout = r#"{"waves": ["10%", "50%", "100%"], "bake": "5m"}"#;
        let groups = [(40, A), (20, B), (10, DB)];
        for version in 1..200 {
            let waves = Waves::of(&fleet(version, &groups, rollout)).unwrap();
            for (wave, share) in [(0, 0.1), (1, 0.5)] {
                for (group, (count, _)) in groups.iter().enumerate() {
                    let own = format!("s{group}-");
                    let members = waves.until(wave);
                    let taken = members
                        .iter()
                        .filter(|name| name.as_str().starts_with(&own));
                    let taken = taken.count();
                    let wanted = f64::from(u32::try_from(*count).unwrap()) * share;
                    let off = (f64::from(u32::try_from(taken).unwrap()) - wanted).abs();
                    assert!(
                        off <= 2.5,
                        "version {version}, group {group}, wave {wave}: {taken} of {count}"
                    );
                    assert!(taken < *count);
                }
            }
        }
    }

    #[test]
    fn it_is_not_always_the_same_ones_that_are_first() {
        let rollout = r#"{"waves": ["10%", "100%"], "bake": "5m"}"#;
        let mut first = BTreeSet::new();
        for version in 1..100 {
            let waves = Waves::of(&fleet(version, &[(10, A)], rollout)).unwrap();
            first.extend(waves.until(0).to_vec());
        }
        assert_eq!(first.len(), 10);
        let again = || Waves::of(&fleet(7, &[(10, A), (3, DB)], rollout));
        assert_eq!(again(), again());
    }

    #[test]
    fn one_wave_is_none() {
        assert_eq!(Waves::of(&fleet(1, &[(3, A)], r#"{"bake": "5m"}"#)), None);
        let all = r#"{"canaries": ["s0-0", "s0-1", "s0-2"], "bake": "5m"}"#;
        assert_eq!(Waves::of(&fleet(1, &[(3, A)], all)), None);
        let retired = r#""roles": ["web"], "state": "retired""#;
        let waves = Waves::of(&fleet(
            1,
            &[(2, A), (5, retired)],
            r#"{"canaries": ["s0-0"], "bake": "5m"}"#,
        ));
        assert_eq!(waves.unwrap().until(9).len(), 2);
    }
}
