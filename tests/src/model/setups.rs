//! The setups that are searched: small ones in which much can go wrong, each with the faults that belong together.

use node_agent::database::protocol::{Omissions, Timing};

use super::world::{Budget, Setup};

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
        drain: 10,
        handover: 5,
        handover_poll: 1,
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
    orders: 0,
};

const OMIT: Omissions = Omissions {
    sent_time: false,
    refusal_fences: false,
    masters_locks: false,
    candidates_lock: false,
    drain: false,
    unreachable_is_open: false,
    recheck: false,
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
            "crash",
            2,
            Budget {
                faults: 1,
                crash: true,
                host: true,
                kill: true,
                freeze: true,
                ..NONE
            },
        ),
        setup(
            "network",
            2,
            Budget {
                faults: 2,
                network: true,
                cut: true,
                ..NONE
            },
        ),
        setup(
            "outage",
            2,
            Budget {
                faults: 2,
                outage: true,
                kill: true,
                host: true,
                split: true,
                ..NONE
            },
        ),
        setup(
            "switchover",
            2,
            Budget {
                faults: 1,
                network: true,
                crash: true,
                writes: 1,
                orders: 1,
                ..NONE
            },
        ),
    ]
}

fn deep() -> Vec<Setup> {
    vec![]
}
