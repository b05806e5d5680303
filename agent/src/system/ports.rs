//! TCP ports that somebody on this machine listens on, as the kernel lists them.

use std::collections::BTreeSet;

/// The state column of a socket that listens, in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// Ports that some process listens on, at whatever address. Empty where the kernel does not tell.
///
/// A socket that is bound and does not listen is not among them.
pub fn listened() -> BTreeSet<u16> {
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .flat_map(|text| parse(&text))
        .collect()
}

/// The ports of a table's listening sockets: `0: 0100007F:1F90 00000000:0000 0A …`.
fn parse(text: &str) -> BTreeSet<u16> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (local, state) = (words.nth(1)?, words.nth(1)?);
            let (_, port) = local.rsplit_once(':')?;
            (state == LISTEN)
                .then(|| u16::from_str_radix(port, 16).ok())
                .flatten()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listening_sockets_count() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1
   1: 0100007F:1F91 0100007F:0050 01 00000000:00000000 00:00000000 00000000     0        0 2 1
   2: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 0 0 0 0 0 3
nonsense
";
        assert_eq!(parse(text), [80, 8080].into());
    }

    #[test]
    fn a_real_listener_is_seen() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(listened().contains(&port));
        drop(listener);
        assert!(!listened().contains(&port));
    }
}
