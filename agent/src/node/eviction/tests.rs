//! Histories: servers of a product that look at each other, read and write one object, while machines die, networks are cut, the
//! bucket goes away and some servers lie.

use super::*;
use crate::node::eviction::decide::wait;

use std::time::Duration;

/// A product with web servers, and memcached servers where `caches` says so, one a zone in turn.
fn fleet(webs: usize, caches: usize, zones: usize) -> Fleet {
    let mut servers = serde_json::Map::new();
    for (role, number) in [("web", webs), ("memcached", caches)] {
        for index in 1..=number {
            let name = format!("{}-{index}", if role == "web" { "web" } else { "cache" });
            let host = servers.len() + 11;
            let mut server = serde_json::json!({
                "address": format!("10.78.0.{host}"), "roles": [role], "products": ["shop"],
            });
            if zones > 0 {
                server["zone"] = format!("zone-{}", (index - 1) % zones).into();
            }
            servers.insert(name, server);
        }
    }
    serde_json::from_value(serde_json::json!({
        "format": 1, "fleet": "f", "version": 1,
        "issued": "2026-01-01T00:00:00Z", "expires": "2036-01-01T00:00:00Z",
        "servers": servers,
        "products": {"shop": {
            "sites": {"www": {"domains": ["shop.example.com"], "root": "/srv/shop"}},
            "dns": {"zone": "example.com", "names": ["shop.example.com"]},
            "cache": {"port": 11211, "memory": "64M"},
            "evict": {"web": "1m", "cache": "1m"},
        }},
    }))
    .unwrap()
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

const AFTER: u64 = 60;

/// One server of a history.
struct Peer {
    alive: bool,
    /// Its agent runs; a machine may sleep, and serve nothing.
    asleep: bool,
    bucket: bool,
    well: bool,
    /// Whom it says to find dead, whatever it sees.
    lies: Vec<Name>,
    memory: Memory,
    read: Option<(u64, Health)>,
    next: u64,
    /// Since when it is alive, awake and reaches the bucket.
    sound: Option<u64>,
}

struct World {
    fleet: Fleet,
    health: Health,
    version: u64,
    boxes: BTreeMap<Name, Peer>,
    /// Servers on one side of a cut.
    cut: BTreeSet<Name>,
    now: u64,
    writes: u64,
}

impl World {
    fn new(fleet: Fleet) -> Self {
        let boxes = fleet.servers.keys().enumerate().map(|(index, name)| {
            let one = Peer {
                alive: true,
                asleep: false,
                bucket: true,
                well: true,
                lies: Vec::new(),
                memory: Memory::default(),
                read: None,
                // They do not look all at once.
                next: u64::try_from(index).unwrap() % 7,
                sound: Some(0),
            };
            (name.clone(), one)
        });
        Self {
            boxes: boxes.collect(),
            health: Health::new(name("f"), name("shop")),
            version: 0,
            cut: BTreeSet::new(),
            now: 0,
            writes: 0,
            fleet,
        }
    }

    fn of(&mut self, server: &str) -> &mut Peer {
        self.boxes.get_mut(&name(server)).unwrap()
    }

    fn kill(&mut self, server: &str) {
        self.of(server).alive = false;
    }

    /// It boots: its agent remembers nothing.
    fn boot(&mut self, server: &str) {
        let one = self.of(server);
        (one.alive, one.memory, one.read) = (true, Memory::default(), None);
    }

    fn run(&mut self, secs: u64) {
        for _ in 0..secs {
            self.step();
        }
    }

    /// A second: who is due reads the object as it stands at its beginning, looks, decides and writes. Of those who write in the same
    /// second, the first one does.
    fn step(&mut self) {
        let shop = name("shop");
        let pace = Pace::of(&self.fleet.products[&shop]).unwrap();
        let (version, before) = (self.version, self.health.clone());
        let states: BTreeMap<Name, bool> = (self.boxes.iter())
            .map(|(name, it)| (name.clone(), it.alive && !it.asleep))
            .collect();
        let now = Duration::from_secs(self.now);
        let at = "2026-11-30T00:00:00Z".parse::<Timestamp>().unwrap()
            + jiff::SignedDuration::from_secs(i64::try_from(self.now).unwrap());
        for (node, one) in &mut self.boxes {
            let is_sound = one.alive && !one.asleep && one.bucket;
            one.sound = is_sound.then(|| one.sound.unwrap_or(self.now));
            if !one.alive || one.asleep || one.next > self.now {
                continue;
            }
            one.next = self.now + pace.look.as_secs();
            if one.bucket {
                one.read = Some((version, before.clone()));
                one.memory.read(&before, now);
            }
            let Some((known, read)) = one.read.clone() else {
                continue;
            };
            if observers(&self.fleet, &shop, &read).contains(node) {
                for part in EvictPart::ALL {
                    for target in targets(&self.fleet, &shop, part).filter(|it| *it != node) {
                        let is_cut = self.cut.contains(node) != self.cut.contains(target);
                        let dead = !states[target] || is_cut || one.lies.contains(target);
                        let found = if dead {
                            Err("no answer".to_owned())
                        } else {
                            Ok(())
                        };
                        one.memory
                            .asked((part, target.clone()), found, now, pace.longest());
                    }
                }
            }
            let word = EvictPart::ALL.map(|part| {
                one.memory.is_well(part, one.well, now, pace.longest());
                let says = if one.well {
                    Ok(())
                } else {
                    Err("httpd is down".into())
                };
                (part, says)
            });
            let here = Here {
                fleet: &self.fleet,
                product: &shop,
                node,
                at,
                now,
                word: &word.into(),
            };
            let next = decide(&here, &one.memory, &read);
            if next == read || !one.bucket {
                continue;
            }
            if known == self.version {
                self.version += 1;
                self.writes += 1;
                self.health = next.clone();
                one.memory.read(&next, now);
                one.read = Some((self.version, next));
            } else {
                // It reads again at once.
                one.next = self.now + 1;
            }
        }
        self.check(&before);
        self.now += 1;
    }

    fn check(&self, before: &Health) {
        for part in EvictPart::ALL {
            let servers = targets(&self.fleet, &self.health.product, part).count();
            let outs = |health: &Health| -> BTreeSet<Name> {
                let out = health.of(part).iter().filter(|(_, it)| it.out.is_some());
                out.map(|(name, _)| name.clone()).collect()
            };
            let out = outs(&self.health);
            assert!(out.len() <= most_out(servers) && (out.is_empty() || out.len() < servers));
            for taken in out.difference(&outs(before)) {
                let one = &self.boxes[taken];
                let sound = one.sound.filter(|_| one.well);
                assert!(
                    sound.is_none_or(|since| self.now < since + AFTER),
                    "at {} {taken} was taken out, and is well since {sound:?}: {:#?}",
                    self.now,
                    self.health
                );
            }
        }
        assert!(serde_json::to_vec(&self.health).unwrap().len() < 64 * 1024);
    }

    fn out(&self) -> Vec<String> {
        let left = left_out(&self.fleet, &name("shop"), &self.health);
        let all = EvictPart::ALL
            .into_iter()
            .flat_map(|part| left.of(part).keys());
        all.map(ToString::to_string).collect()
    }

    /// How many seconds until this is so; at most as many as `most`.
    fn until(&mut self, most: u64, is_so: impl Fn(&Self) -> bool) -> u64 {
        let began = self.now;
        while !is_so(self) {
            assert!(
                self.now - began < most,
                "not within {most} s: {:#?}",
                self.health
            );
            self.step();
        }
        self.now - began
    }
}

#[test]
fn a_dead_server_is_taken_out_in_time_and_comes_back_when_it_has_been_well_for_a_while() {
    let mut world = World::new(fleet(3, 3, 3));
    world.run(120);
    assert_eq!(world.writes, 0, "nothing is written while all is well");
    world.kill("web-2");
    let took = world.until(AFTER + 30, |world| world.out() == ["web-2"]);
    assert!(took + 10 >= AFTER, "after {took} s");
    let out = world.health.web[&name("web-2")].out.clone().unwrap();
    assert!(out.by.len() >= 2 && out.word.is_empty(), "{out:?}");
    world.kill("cache-1");
    world.until(AFTER + 30, |world| world.out() == ["web-2", "cache-1"]);
    world.run(3600);
    assert_eq!(world.out(), ["web-2", "cache-1"]);
    let writes = world.writes;
    world.run(600);
    assert_eq!(world.writes, writes, "what is known is not written again");

    world.boot("web-2");
    let took = world.until(90, |world| world.out() == ["cache-1"]);
    assert!(took >= 60, "back after {took} s");
    world.run(600);
    assert_eq!(world.out(), ["cache-1"]);
}

#[test]
fn the_second_of_two_is_taken_out_by_the_only_one_that_is_left_and_never_the_last() {
    for zones in [0, 1, 2] {
        let mut world = World::new(fleet(2, 0, zones));
        world.kill("web-2");
        world.until(AFTER + 30, |world| world.out() == ["web-2"]);
        world.kill("web-1");
        world.run(600);
        assert_eq!(world.out(), ["web-2"]);
    }
}

#[test]
fn who_lies_takes_nobody_out_and_keeps_nobody_out() {
    for zones in [0, 1, 3] {
        let mut world = World::new(fleet(4, 2, zones));
        let all: Vec<Name> = world.fleet.servers.keys().cloned().collect();
        let lies = all
            .iter()
            .filter(|it| it.as_str() != "web-1")
            .take(2)
            .cloned();
        world.of("web-1").lies = lies.collect();
        world.run(1200);
        assert!(world.out().is_empty(), "{:#?}", world.health);
        // And does not keep the others from taking a dead one out.
        world.kill("web-4");
        world.until(AFTER + 60, |world| world.out() == ["web-4"]);
        world.boot("web-4");
        world.until(120, |world| world.out().is_empty());
    }
}

#[test]
fn a_cut_between_zones_takes_nobody_out_that_reaches_the_bucket() {
    for (zones, webs, side) in [
        (2, 6, &["web-1", "web-3", "web-5"][..]),
        (3, 6, &["web-1", "web-4"][..]),
    ] {
        let mut world = World::new(fleet(webs, 0, zones));
        world.cut = side.iter().map(|one| name(one)).collect();
        world.run(1800);
        assert!(world.out().is_empty(), "{:#?}", world.health);
    }
}

#[test]
fn two_halves_of_a_fleet_that_do_not_see_each_other_leave_all_as_it_is_though_one_has_no_bucket() {
    let mut world = World::new(fleet(6, 0, 2));
    for server in ["web-1", "web-3", "web-5"] {
        world.cut.insert(name(server));
        world.of(server).bucket = false;
    }
    world.run(1800);
    assert!(world.out().is_empty(), "{:#?}", world.health);
}

#[test]
fn all_but_one_die_and_no_list_is_emptied() {
    let mut world = World::new(fleet(6, 6, 3));
    for index in 2..=6 {
        world.kill(&format!("web-{index}"));
        world.kill(&format!("cache-{index}"));
    }
    world.run(1800);
    // Who sees most of the others dead doubts itself first.
    assert!(world.out().is_empty(), "{:#?}", world.health);

    // One after the other: a third of them at most.
    let mut world = World::new(fleet(6, 0, 3));
    for index in 2..=6 {
        world.kill(&format!("web-{index}"));
        world.run(200);
    }
    assert_eq!(world.out().len(), 2, "{:#?}", world.health);
}

#[test]
fn without_the_bucket_nothing_changes() {
    let mut world = World::new(fleet(3, 0, 3));
    world.kill("web-3");
    world.until(AFTER + 30, |world| world.out() == ["web-3"]);
    for server in ["web-1", "web-2", "web-3"] {
        world.of(server).bucket = false;
    }
    world.boot("web-3");
    world.kill("web-2");
    world.run(1800);
    assert_eq!(world.out(), ["web-3"]);
}

#[test]
fn a_server_that_says_itself_that_it_is_not_well_is_taken_out_and_one_that_is_well_is_not() {
    // Its agent lives, and what it serves does not: asked by others it is as good as dead.
    let mut world = World::new(fleet(3, 0, 3));
    for server in ["web-1", "web-2"] {
        world.of(server).lies = vec![name("web-3")];
    }
    world.run(1800);
    assert!(world.out().is_empty());
    let word = world.health.web[&name("web-3")].word.clone().unwrap();
    assert!(word.well);
    world.of("web-3").well = false;
    world.until(60, |world| world.out() == ["web-3"]);
    let out = world.health.web[&name("web-3")].out.clone().unwrap();
    assert_eq!(out.word, "httpd is down");
    // Not well, it does not come back, however long that is.
    world.run(1800);
    assert_eq!(world.out(), ["web-3"]);
}

#[test]
fn one_that_flaps_must_be_well_for_longer_each_time() {
    let mut world = World::new(fleet(3, 0, 3));
    let mut waits = Vec::new();
    for _ in 0..4 {
        world.kill("web-2");
        world.until(AFTER + 30, |world| !world.out().is_empty());
        world.boot("web-2");
        waits.push(world.until(3600, |world| world.out().is_empty()));
    }
    assert!(
        waits.windows(2).all(|two| two[1] > two[0] + 30),
        "{waits:?}"
    );
    assert_eq!(wait(Duration::from_secs(AFTER), 1).as_secs(), 60);
    assert_eq!(wait(Duration::from_secs(AFTER), 5).as_secs(), 960);
    assert_eq!(
        (
            wait(Duration::from_secs(AFTER), 6).as_secs(),
            wait(Duration::from_secs(AFTER), 40).as_secs()
        ),
        (1800, 1800)
    );
}

#[test]
fn a_machine_that_wakes_up_accuses_nobody_of_what_it_slept_through() {
    let mut world = World::new(fleet(3, 0, 3));
    world.run(60);
    world.of("web-1").asleep = true;
    // While it slept the others took it out, and it wakes with what it knew before.
    world.until(AFTER + 30, |world| world.out() == ["web-1"]);
    world.run(3600);
    let writes = world.writes;
    world.of("web-1").asleep = false;
    world.run(20);
    assert_eq!(
        world.out(),
        ["web-1"],
        "not before it has been well for a while"
    );
    assert!(world.health.web.len() == 1, "{:#?}", world.health);
    assert!(world.writes <= writes + 4);
    world.until(120, |world| world.out().is_empty());
}

#[test]
fn what_was_signed_counts_more_than_what_was_agreed_on() {
    let mut world = World::new(fleet(3, 3, 3));
    world.kill("web-3");
    world.kill("cache-3");
    world.until(AFTER + 30, |world| world.out() == ["web-3", "cache-3"]);
    let shop = name("shop");
    let mut fleet = world.fleet.clone();
    fleet.servers.get_mut(&name("web-3")).unwrap().state = crate::fleet::ServerState::Draining;
    let never = serde_json::from_str(r#"{"web": "1m", "cache": "never"}"#).unwrap();
    fleet.products.get_mut(&shop).unwrap().evict = Some(never);
    assert!(left_out(&fleet, &shop, &world.health).is_empty());
    // And the object follows.
    world.fleet = fleet;
    world.until(60, |world| {
        world.health.web.is_empty() && world.health.cache.is_empty()
    });
}

#[test]
fn an_object_that_says_too_much_is_believed_up_to_a_third() {
    let fleet = fleet(6, 1, 3);
    let mut health = Health::new(name("f"), name("shop"));
    for (part, server) in EvictPart::ALL.into_iter().flat_map(|part| {
        let servers = fleet.servers.keys();
        servers.map(move |server| (part, server))
    }) {
        let record = Record {
            out: Some(Out {
                since: "2026-11-30T00:00:00Z".parse().unwrap(),
                by: Vec::new(),
                word: String::new(),
            }),
            ..Record::default()
        };
        health.of_mut(part).insert(server.clone(), record);
    }
    let left = left_out(&fleet, &name("shop"), &health);
    assert_eq!((left.web.len(), left.cache.len()), (2, 0));
}

#[test]
fn an_observer_that_is_accused_is_joined_by_the_next_one_and_keeps_its_place() {
    let fleet = fleet(9, 0, 1);
    let shop = name("shop");
    let mut health = Health::new(name("f"), shop.clone());
    let of = |health: &Health| -> Vec<String> {
        let chosen = observers(&fleet, &shop, health);
        chosen.into_iter().map(ToString::to_string).collect()
    };
    assert_eq!(of(&health), ["web-1", "web-2", "web-3"]);
    let sighting = Sighting {
        by: name("web-1"),
        zone: None,
        since: "2026-11-30T00:00:00Z".parse().unwrap(),
        why: String::new(),
    };
    let record = Record {
        seen_dead: vec![sighting],
        ..Record::default()
    };
    health.web.insert(name("web-2"), record);
    assert_eq!(of(&health), ["web-1", "web-2", "web-3", "web-4"]);
}

/// Whatever happens: never more than a third, never all, and nobody who is well and reaches the bucket. [`World::check`] looks each
/// second.
#[test]
fn whatever_happens_nobody_who_is_well_is_taken_out_and_never_too_many() {
    for seed in 0..12 {
        let mut dice = fastrand::Rng::with_seed(seed);
        let (webs, caches) = (dice.usize(1..6), dice.usize(0..4));
        let mut world = World::new(fleet(webs, caches, dice.usize(0..4)));
        let all: Vec<Name> = world.fleet.servers.keys().cloned().collect();
        for _ in 0..25 {
            let server = dice.choice(&all).unwrap().to_string();
            match dice.u8(0..10) {
                0..=2 => world.kill(&server),
                3..=4 => world.boot(&server),
                5 => {
                    let lies = all.iter().filter(|it| dice.bool() && it.as_str() != server);
                    let lies = lies.cloned().collect();
                    world.of(&server).lies = lies;
                }
                6 => world.cut = all.iter().filter(|_| dice.bool()).cloned().collect(),
                7 => world.cut.clear(),
                8 => world.of(&server).bucket ^= true,
                _ => world.of(&server).asleep ^= true,
            }
            world.run(dice.u64(5..150));
        }
    }
}
