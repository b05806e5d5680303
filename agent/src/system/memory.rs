//! How much memory this process holds.

/// What it holds in memory (resident), in bytes; `None` where the kernel does not say (no `/proc`).
pub fn resident() -> Option<u64> {
    resident_in(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn resident_in(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_counts_in_kib() {
        let status = "Name:\tagentd\nVmHWM:\t   99 kB\nVmRSS:\t   12345 kB\nThreads:\t4\n";
        assert_eq!(resident_in(status), Some(12_345 << 10));
        for wrong in [
            "",
            "VmRSS: \n",
            "VmRSS: 7 pages\n",
            "VmRSS: -1 kB\n",
            "VmRSS: 18446744073709551615 kB\n",
        ] {
            assert_eq!(resident_in(wrong), None, "{wrong:?}");
        }
    }

    /// Other tests run beside this one and give back what they held: so it asks for no difference.
    #[test]
    fn what_a_process_has_written_to_is_held() {
        let taken = vec![1_u8; 256 << 20];
        assert!(resident().unwrap() >= taken.len() as u64);
        assert_eq!(taken.last(), Some(&1));
    }
}
