//! When to ask the bucket again, so that a fleet that booted together does not ask together.

use std::time::Duration;

use crate::system::digest::sha256;

/// The longest wait after failures.
const LONGEST: Duration = Duration::from_mins(5);
/// The shortest wait after a failure, so that jitter never makes a storm.
const SHORTEST: Duration = Duration::from_secs(1);

/// How long to wait after `failures` failures in a row: exponential from `poll`, jittered, at most five minutes.
///
/// The wait is spread evenly between the shorter of one second and `poll`, and `poll` · 2^`failures`:
/// on average it doubles with each failure. Without failures it is `poll` itself.
pub fn backoff(poll: Duration, failures: u32) -> Duration {
    if failures == 0 {
        return poll;
    }
    let longest = poll
        .saturating_mul(2_u32.saturating_pow(failures))
        .min(LONGEST);
    let shortest = poll.min(SHORTEST);
    let spread = longest.saturating_sub(shortest);
    shortest + spread.mul_f64(fastrand::f64())
}

/// How long after its first poll, which comes at once, `who` waits until it polls every `poll`: less than `poll`.
///
/// `who` is the server's name, or the host name while that is not known. A machine has the same phase after
/// each boot, and the phases of a fleet are spread evenly.
pub fn phase(who: &str, poll: Duration) -> Duration {
    let hash = sha256(who.as_bytes());
    let drawn = hash
        .iter()
        .take(4)
        .fold(0_u32, |sum, byte| (sum << 8) | u32::from(*byte));
    poll.mul_f64(f64::from(drawn) / (f64::from(u32::MAX) + 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLL: Duration = Duration::from_secs(10);

    #[test]
    fn no_failure_waits_one_poll() {
        assert_eq!(backoff(POLL, 0), POLL);
    }

    #[test]
    fn the_wait_grows_with_failures_up_to_five_minutes() {
        let mean = |failures| -> f64 {
            let waits = (0..2000).map(|_| backoff(POLL, failures).as_secs_f64());
            waits.sum::<f64>() / 2000.0
        };
        assert!((9.0..12.0).contains(&mean(1)), "{}", mean(1));
        assert!((18.0..23.0).contains(&mean(2)), "{}", mean(2));
        assert!((135.0..165.0).contains(&mean(40)), "{}", mean(40));
    }

    #[test]
    fn the_wait_is_never_tiny_and_never_past_five_minutes() {
        for failures in [1, 2, 5, 31, 32, u32::MAX] {
            for poll in [1, 10, 60, 3600].map(Duration::from_secs) {
                let wait = backoff(poll, failures);
                assert!(wait >= SHORTEST && wait <= LONGEST, "{wait:?}");
            }
        }
        assert!(backoff(Duration::from_millis(50), 1) >= Duration::from_millis(50));
        assert_eq!(backoff(Duration::MAX, 3).as_secs() / 301, 0);
    }

    #[test]
    fn phases_are_steady_and_spread_evenly() {
        assert_eq!(phase("web-1", POLL), phase("web-1", POLL));
        let mut buckets = [0; 10];
        for server in 0..10_000 {
            let phase = phase(&format!("web-{server}"), POLL);
            assert!(phase < POLL);
            buckets[usize::try_from(phase.as_secs()).unwrap()] += 1;
        }
        assert!(
            buckets.iter().all(|n| (850..1150).contains(n)),
            "{buckets:?}"
        );
    }
}
