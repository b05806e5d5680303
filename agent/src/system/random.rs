//! Random bytes from the kernel, for names that must never be given twice.

use std::fs::File;
use std::io::{self, Read};

/// Sixteen random bytes. Fails only where `/dev/urandom` is missing.
pub fn bytes() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #[test]
    fn two_are_never_the_same() {
        assert_ne!(super::bytes().unwrap(), super::bytes().unwrap());
    }
}
