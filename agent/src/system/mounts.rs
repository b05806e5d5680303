//! What is mounted where, as this process sees it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

/// All mount points. Empty where the kernel does not tell.
pub fn points() -> BTreeSet<PathBuf> {
    std::fs::read_to_string("/proc/self/mountinfo")
        .map_or_else(|_| BTreeSet::new(), |text| parse(&text))
}

fn parse(mountinfo: &str) -> BTreeSet<PathBuf> {
    mountinfo
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|point| PathBuf::from(OsString::from_vec(unescaped(point.as_bytes()))))
        .collect()
}

/// Spaces and the like are written as `\040`.
fn unescaped(mut text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    while let Some((&first, rest)) = text.split_first() {
        let octal = rest.get(..3).filter(|_| first == b'\\').and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        let (byte, rest) = match octal {
            Some(byte) => (byte, rest.get(3..).unwrap_or_default()),
            None => (first, rest),
        };
        out.push(byte);
        text = rest;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_read_with_their_escapes() {
        let text = "22 1 0:20 / / rw,relatime - overlay overlay rw\n\
                    36 22 0:34 /hosts /etc/hosts rw shared:1 - ext4 /dev/vda rw\n\
                    37 22 0:35 / /srv/a\\040b\\134c rw - tmpfs tmpfs rw\n";
        let points = parse(text);
        assert!(points.contains(&PathBuf::from("/etc/hosts")));
        assert!(points.contains(&PathBuf::from("/srv/a b\\c")), "{points:?}");
        assert_eq!(points.len(), 3);
        assert!(super::points().contains(&PathBuf::from("/proc")));
    }
}
