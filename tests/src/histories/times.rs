//! The protocol's times in a history: the product's own, or all of them shorter.

use clap::ValueEnum;

/// Which times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Pace {
    /// About a quarter of the product's own: many histories in little time. Outages say nothing of the product.
    Fast,
    /// The product's own.
    Default,
}

/// The times, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Between two renewals.
    pub renew: u64,
    /// Of a request to the bucket.
    pub timeout: u64,
    /// L.
    pub stop_serving: u64,
    /// F.
    pub fence_budget: u64,
    /// TTL.
    pub ttl: u64,
    /// What the second candidate waits longer.
    pub second_wait: u64,
    /// Between two failovers. Short in either pace: a history has more than one fault, and none waits for a person.
    pub cooldown: u64,
    /// Between two looks of web machines at the lease.
    pub lease_poll: u64,
}

impl Times {
    /// [`Pace::Fast`].
    pub const FAST: Self = Self {
        renew: 250,
        timeout: 400,
        stop_serving: 1250,
        fence_budget: 1000,
        ttl: 2500,
        second_wait: 2500,
        cooldown: 1000,
        lease_poll: 500,
    };

    /// [`Pace::Default`].
    pub const DEFAULT: Self = Self {
        renew: 1000,
        timeout: 1000,
        stop_serving: 5000,
        fence_budget: 3000,
        ttl: 10_000,
        second_wait: 10_000,
        cooldown: 1000,
        lease_poll: 2000,
    };

    /// Those of a pace.
    pub const fn of(pace: Pace) -> Self {
        match pace {
            Pace::Fast => Self::FAST,
            Pace::Default => Self::DEFAULT,
        }
    }

    /// The lines of agentd.toml's `[database]`.
    pub fn database(&self) -> String {
        format!(
            "renew = \"{}ms\"\ntimeout = \"{}ms\"\nstop_serving = \"{}ms\"\nfence_budget = \"{}ms\"\nttl = \"{}ms\"\n\
             second_wait = \"{}ms\"\ncooldown = \"{}ms\"\n",
            self.renew,
            self.timeout,
            self.stop_serving,
            self.fence_budget,
            self.ttl,
            self.second_wait,
            self.cooldown,
        )
    }

    /// The line of its top.
    pub fn top(&self) -> String {
        format!("lease_poll = \"{}ms\"\n", self.lease_poll)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Times;

    #[test]
    fn default_times_are_the_products_own_and_fast_ones_keep_its_rule() {
        let own = |times: Times| node_agent::settings::Times {
            renew: Duration::from_millis(times.renew),
            timeout: Duration::from_millis(times.timeout),
            stop_serving: Duration::from_millis(times.stop_serving),
            fence_budget: Duration::from_millis(times.fence_budget),
            ttl: Duration::from_millis(times.ttl),
            clock_error: node_agent::settings::Times::default().clock_error,
        };
        assert_eq!(own(Times::DEFAULT), node_agent::settings::Times::default());
        assert_eq!(own(Times::FAST).timing().mistakes(), []);
    }
}
