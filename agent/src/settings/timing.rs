//! How long things take in the failover protocol, and the one inequality on which everything rests.
//!
//! They stand below the protocol because `agentd.toml` is refused where they do not fit together.

use std::time::Duration;

/// Milliseconds, of `CLOCK_BOOTTIME` where it is a moment. Never the wall clock.
pub type Ms = u64;

/// The protocol's times, in milliseconds of the boot clock.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Timing {
    /// Between two renewals, two heartbeats and two looks at the lease.
    pub renew: Ms,
    /// The deadline of one request to the bucket.
    pub timeout: Ms,
    /// A master serves for so long after it *sent* the last renewal that was confirmed. `L` in the documentation.
    pub stop_serving: Ms,
    /// A master that must stop is closed so much later at the latest. `F` in the documentation.
    pub fence_budget: Ms,
    /// Within that budget: when closing did not succeed by words, the server is killed.
    pub kill_after: Ms,
    /// A candidate waits for so long after it *received* the first answer that showed the lease as it is.
    pub ttl: Ms,
    /// By how much a clock may be too fast or too slow, in millionths.
    pub clock_error_ppm: u64,
    /// No second failover by itself so soon after the last change of master.
    pub cooldown: Ms,
    /// So much later than the first candidate the second one acts, twice as much later the third.
    pub second_wait: Ms,
    /// A new owner that has not applied what it received by then gives the lease back, once, for somebody who has.
    pub apply: Ms,
    /// The most time that applying what was received may take before a takeover is given up.
    pub drain: Ms,
    /// The most time that a server to which was handed over may take before the old master takes it back.
    pub handover: Ms,
    /// Between two looks at the lease while a master hands over.
    pub handover_poll: Ms,
    /// A person's order that could not be carried out within this time is not carried out later either.
    pub order: Ms,
    /// The most transactions that may be known to be lost when a candidate takes over by itself.
    pub max_lost: u64,
}

/// Why times are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnfitTiming {
    /// Two masters would be possible.
    #[error(
        "a candidate would take over before the old master has surely stopped: ttl {} less clock_error {} is {}, \
         stop_serving {} and fence_budget {} with it are {}; raise ttl to {:.1} s or more, or lower one of the others",
        span(*ttl), share(*ppm), secs(*waits), span(*stop_serving), span(*fence_budget), secs(*closes), tenths(*enough)
    )]
    TwoMasters {
        /// What was given.
        ttl: Ms,
        /// What was given.
        stop_serving: Ms,
        /// What was given.
        fence_budget: Ms,
        /// What was given, in millionths.
        ppm: u64,
        /// How long the fastest candidate waits.
        waits: Ms,
        /// When the slowest master is closed.
        closes: Ms,
        /// The least ttl that would do.
        enough: Ms,
    },
    /// The master would be closed without need.
    #[error(
        "one lost request would close the master: renew {} and twice timeout {} are {}, more than stop_serving {}",
        span(*renew), span(*timeout), span(renew + 2 * timeout), span(*stop_serving)
    )]
    OneRequest {
        /// What was given.
        renew: Ms,
        /// What was given.
        timeout: Ms,
        /// What was given.
        stop_serving: Ms,
    },
}

fn span(ms: Ms) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_millis(ms))
}

fn secs(ms: Ms) -> String {
    format!("{:.2} s", Duration::from_millis(ms).as_secs_f64())
}

/// In seconds, rounded up to a tenth.
fn tenths(ms: Ms) -> f64 {
    Duration::from_millis(ms.div_ceil(100).saturating_mul(100)).as_secs_f64()
}

fn share(ppm: u64) -> f64 {
    Duration::from_micros(ppm).as_secs_f64()
}

/// A million millionths.
const WHOLE: u64 = 1_000_000;

impl Timing {
    /// Times for servers of one region. [`Timing::mistakes`] finds none in them. The defaults of the settings are these.
    pub const fn regional() -> Self {
        Self {
            renew: 1_000,
            timeout: 1_000,
            stop_serving: 5_000,
            fence_budget: 3_000,
            kill_after: 1_000,
            ttl: 10_000,
            clock_error_ppm: 10_000,
            cooldown: 600_000,
            second_wait: 10_000,
            apply: 10_000,
            drain: 300_000,
            handover: 8_000,
            handover_poll: 150,
            order: 60_000,
            max_lost: 1_000,
        }
    }

    /// What is wrong with them; nothing: neither two masters are possible, nor is a master closed without need.
    ///
    /// `TTL·(1−ρ) ≥ (L+F)·(1+ρ)`: when a candidate's waiting ends, the master has stopped, by whatever clocks.
    pub fn mistakes(&self) -> Vec<UnfitTiming> {
        let mut mistakes = Vec::new();
        let ppm = self.clock_error_ppm.min(WHOLE - 1);
        let (soonest, latest) = (WHOLE - ppm, WHOLE + ppm);
        let serves = self.stop_serving.saturating_add(self.fence_budget);
        if self.ttl.saturating_mul(soonest) < serves.saturating_mul(latest) {
            mistakes.push(UnfitTiming::TwoMasters {
                ttl: self.ttl,
                stop_serving: self.stop_serving,
                fence_budget: self.fence_budget,
                ppm: self.clock_error_ppm,
                waits: self.ttl.saturating_mul(soonest) / WHOLE,
                closes: serves.saturating_mul(latest).div_ceil(WHOLE),
                enough: serves.saturating_mul(latest).div_ceil(soonest),
            });
        }
        let lost = self.renew.saturating_add(self.timeout.saturating_mul(2));
        if lost > self.stop_serving {
            mistakes.push(UnfitTiming::OneRequest {
                renew: self.renew,
                timeout: self.timeout,
                stop_serving: self.stop_serving,
            });
        }
        mistakes
    }

    /// A heartbeat older than this shows nothing.
    pub const fn beat_fresh(&self) -> Ms {
        self.renew.saturating_mul(2)
    }
}
