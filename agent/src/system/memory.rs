//! How much memory this process holds.

/// What it holds in memory (resident), in bytes; `None` where the kernel does not say (no `/proc`).
pub fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
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
    fn a_process_that_takes_memory_holds_more() {
        let before = resident().unwrap();
        assert!(before > 1 << 20);
        let taken = vec![1_u8; 32 << 20];
        assert!(resident().unwrap() >= before + (16 << 20));
        assert_eq!(taken.last(), Some(&1));
    }
}
