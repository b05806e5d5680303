//! The setups that are searched: small ones in which much can go wrong, each with the faults that belong together.

use node_agent::database::protocol::{Omissions, Timing};

use crate::check::{FRESH, OWN, SHUT, STOPS, TWO};
use crate::world::{Budget, Setup};

/// Times in ticks. By the real numbers of the protocol two renewals fit into L; here L is 3 ticks.
const fn ticks() -> Timing {
    Timing {
        renew: 1,
        timeout: 1,
        stop_serving: 3,
        fence_budget: 1,
        kill_after: 1,
        ttl: 5,
        clock_error_ppm: 0,
        cooldown: 1_000,
        second_wait: 3,
        apply: 3,
        drain: 8,
        handover: 5,
        handover_poll: 1,
        order: 9,
        max_lost: 1,
    }
}

const NONE: Budget = Budget {
    faults: 0,
    crash: false,
    kill: false,
    freeze: false,
    host: false,
    cut: false,
    outage: false,
    split: false,
    hang: false,
    network: false,
    writes: 0,
    restart: false,
    orders: 0,
    takeovers: 0,
};

const OMIT: Omissions = Omissions {
    sent_time: false,
    refusal_fences: false,
    masters_locks: false,
    candidates_lock: false,
    listed: false,
    drain: false,
    unreachable_is_open: false,
    recheck: false,
    given: false,
    gate: false,
};

fn setup(name: &'static str, servers: u8, budget: Budget) -> Setup {
    Setup {
        name,
        servers,
        timing: ticks(),
        omit: OMIT,
        deadman: true,
        budget,
        drift: vec![0; usize::from(servers)],
        stranger: false,
        steady: false,
        look: 16,
    }
}

/// All setups; `long`: also those that take minutes.
pub fn all(long: bool) -> Vec<Setup> {
    let mut setups = short();
    if long {
        setups.extend(deep());
    }
    setups
}

/// Those that are searched with every change of the code.
pub fn short() -> Vec<Setup> {
    vec![
        setup(
            "crashes",
            2,
            Budget {
                faults: 1,
                crash: true,
                host: true,
                kill: true,
                freeze: true,
                hang: true,
                ..NONE
            },
        ),
        setup(
            "requests",
            2,
            Budget {
                faults: 1,
                network: true,
                cut: true,
                split: true,
                ..NONE
            },
        ),
        setup(
            "outage",
            2,
            Budget {
                faults: 1,
                outage: true,
                kill: true,
                ..NONE
            },
        ),
        setup(
            "switchover to a host that dies",
            2,
            Budget {
                faults: 1,
                host: true,
                orders: 1,
                ..NONE
            },
        ),
        Setup {
            steady: true,
            ..setup(
                "agents started anew",
                2,
                Budget {
                    faults: 2,
                    restart: true,
                    ..NONE
                },
            )
        },
        setup(
            "switchover of a busy master",
            2,
            Budget {
                writes: 1,
                orders: 1,
                ..NONE
            },
        ),
        setup(
            "transactions",
            2,
            Budget {
                faults: 1,
                crash: true,
                writes: 1,
                ..NONE
            },
        ),
        Setup {
            deadman: false,
            ..setup(
                "no dead-man",
                2,
                Budget {
                    faults: 1,
                    kill: true,
                    host: true,
                    cut: true,
                    split: true,
                    ..NONE
                },
            )
        },
        drifting(setup(
            "clocks",
            2,
            Budget {
                faults: 1,
                cut: true,
                host: true,
                ..NONE
            },
        )),
    ]
}

/// The master's clock is a quarter too slow, the candidate's a quarter too fast.
fn drifting(mut setup: Setup) -> Setup {
    setup.drift = vec![-1, 1];
    setup.timing.clock_error_ppm = 250_000;
    // TTL·(1−ρ) ≥ (L+F)·(1+ρ) with L + F = 4.
    setup.timing.ttl = 7;
    setup
}

/// Searched by hand: every pair of faults, three servers.
fn deep() -> Vec<Setup> {
    let two = |name, budget: Budget| {
        setup(
            name,
            2,
            Budget {
                faults: 2,
                ..budget
            },
        )
    };
    vec![
        two(
            "two crashes",
            Budget {
                crash: true,
                host: true,
                kill: true,
                ..NONE
            },
        ),
        two(
            "freezes and cuts",
            Budget {
                freeze: true,
                cut: true,
                split: true,
                ..NONE
            },
        ),
        two(
            "hangs and kills",
            Budget {
                hang: true,
                kill: true,
                crash: true,
                ..NONE
            },
        ),
        two(
            "requests twice",
            Budget {
                network: true,
                cut: true,
                ..NONE
            },
        ),
        two(
            "outage and hosts",
            Budget {
                outage: true,
                host: true,
                split: true,
                ..NONE
            },
        ),
        two(
            "outage and freezes",
            Budget {
                outage: true,
                freeze: true,
                crash: true,
                ..NONE
            },
        ),
        setup(
            "switchover and crashes",
            2,
            Budget {
                faults: 1,
                crash: true,
                kill: true,
                freeze: true,
                orders: 1,
                writes: 1,
                ..NONE
            },
        ),
        two(
            "switchover and requests",
            Budget {
                network: true,
                orders: 1,
                writes: 1,
                ..NONE
            },
        ),
        two(
            "switchover and cuts",
            Budget {
                network: true,
                cut: true,
                split: true,
                orders: 1,
                ..NONE
            },
        ),
        setup(
            "three, switchover to a host that dies",
            3,
            Budget {
                faults: 1,
                host: true,
                orders: 1,
                ..NONE
            },
        ),
        setup(
            "three servers",
            3,
            Budget {
                faults: 1,
                crash: true,
                host: true,
                kill: true,
                ..NONE
            },
        ),
        setup(
            "three without bucket",
            3,
            Budget {
                faults: 1,
                outage: true,
                cut: true,
                ..NONE
            },
        ),
        setup(
            "outage while a replica is down",
            2,
            Budget {
                faults: 2,
                outage: true,
                crash: true,
                ..NONE
            },
        ),
        setup(
            "three, without bucket and with one down",
            3,
            Budget {
                faults: 2,
                crash: true,
                outage: true,
                ..NONE
            },
        ),
        setup(
            "three, switchover",
            3,
            Budget {
                orders: 1,
                writes: 1,
                ..NONE
            },
        ),
        drifting(two(
            "clocks and cuts",
            Budget {
                cut: true,
                split: true,
                freeze: true,
                ..NONE
            },
        )),
    ]
}

/// A master that holds locks, cut off from everybody else, and a person who says of it that it is off: to a server that it
/// does not know of.
fn deposed() -> Setup {
    Setup {
        stranger: true,
        ..setup(
            "a refused write taken for an outage",
            2,
            Budget {
                faults: 2,
                cut: true,
                split: true,
                takeovers: 1,
                ..NONE
            },
        )
    }
}

/// Protocols that lack something, each with what must be seen to go wrong without it; `long`: also those in which that
/// takes long to find.
pub fn broken(long: bool) -> Vec<(Setup, &'static str)> {
    let omit = |name, budget, omit| Setup {
        omit,
        ..setup(name, 2, budget)
    };
    let apart = Budget {
        faults: 3,
        cut: true,
        split: true,
        ..NONE
    };
    let mut short = setup("TTL shorter than L", 2, apart);
    short.timing.ttl = 2;
    let mut fast = drifting(setup("clocks wrong by more than is allowed for", 2, apart));
    fast.timing.ttl = 4;
    let mut broken = vec![
        // Locks and a look at the old master stand behind this as well.
        (short, FRESH),
        (fast, FRESH),
        (
            omit(
                "writable before the relay log is applied",
                Budget {
                    faults: 1,
                    host: true,
                    writes: 1,
                    ..NONE
                },
                Omissions {
                    drain: true,
                    ..OMIT
                },
            ),
            "nothing received is thrown away",
        ),
        (
            omit(
                "a master that goes on without locks",
                apart,
                Omissions {
                    masters_locks: true,
                    ..OMIT
                },
            ),
            TWO,
        ),
        (
            omit(
                "a candidate that does not ask for the lock",
                apart,
                Omissions {
                    candidates_lock: true,
                    ..OMIT
                },
            ),
            TWO,
        ),
        (
            Setup {
                stranger: true,
                ..omit(
                    "a candidate that is not listed takes over",
                    Budget {
                        faults: 2,
                        cut: true,
                        split: true,
                        ..NONE
                    },
                    Omissions {
                        listed: true,
                        ..OMIT
                    },
                )
            },
            TWO,
        ),
        (
            omit(
                "a gate that is taken away as soon as the server is closed",
                Budget {
                    faults: 2,
                    cut: true,
                    split: true,
                    ..NONE
                },
                Omissions { gate: true, ..OMIT },
            ),
            SHUT,
        ),
        (
            omit(
                "ownership counted from the answer",
                Budget {
                    faults: 1,
                    freeze: true,
                    ..NONE
                },
                Omissions {
                    sent_time: true,
                    ..OMIT
                },
            ),
            TWO,
        ),
        (
            Setup {
                deadman: false,
                ..omit(
                    "an unreachable master taken for closed",
                    Budget {
                        faults: 2,
                        kill: true,
                        split: true,
                        ..NONE
                    },
                    Omissions {
                        unreachable_is_open: true,
                        ..OMIT
                    },
                )
            },
            TWO,
        ),
        (
            Setup {
                omit: Omissions {
                    refusal_fences: true,
                    ..OMIT
                },
                ..deposed()
            },
            STOPS,
        ),
        (
            Setup {
                deadman: false,
                ..omit(
                    "opened before the lease says so",
                    Budget {
                        faults: 1,
                        kill: true,
                        orders: 1,
                        ..NONE
                    },
                    Omissions {
                        recheck: true,
                        ..OMIT
                    },
                )
            },
            TWO,
        ),
    ];
    if long {
        broken.push((
            soon(omit(
                "a server without a source taken for whole",
                Budget {
                    faults: 2,
                    crash: true,
                    host: true,
                    writes: 1,
                    ..NONE
                },
                Omissions {
                    given: true,
                    ..OMIT
                },
            )),
            OWN,
        ));
    }
    broken
}

/// One failover after the other.
fn soon(mut setup: Setup) -> Setup {
    setup.timing.cooldown = 0;
    setup
}

/// The same faults with the whole protocol: what the broken ones are held against.
pub fn whole(setup: &Setup) -> Setup {
    let mut whole = setup.clone();
    whole.omit = OMIT;
    let drifts = whole.drift.iter().any(|&drift| drift != 0);
    whole.timing.ttl = if drifts { 7 } else { ticks().ttl };
    whole
}
