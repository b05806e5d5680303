//! TCP ports that somebody on this machine listens on, as the kernel lists them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The state column of a socket that listens, in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// Ports that some process listens on, at whatever address. Empty where the kernel does not tell.
///
/// A socket that is bound and does not listen is not among them.
pub fn listened() -> BTreeSet<u16> {
    listeners().iter().map(SocketAddr::port).collect()
}

/// The same with the addresses that are listened at; an unspecified one stands for all.
pub fn listeners() -> BTreeSet<SocketAddr> {
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .flat_map(|text| parse(&text))
        .collect()
}

/// The listening sockets of a table: `0: 0100007F:1F90 00000000:0000 0A …`.
fn parse(text: &str) -> BTreeSet<SocketAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (local, state) = (words.nth(1)?, words.nth(1)?);
            let (address, port) = local.rsplit_once(':')?;
            if state != LISTEN {
                return None;
            }
            let port = u16::from_str_radix(port, 16).ok()?;
            Some(SocketAddr::new(parse_address(address)?, port))
        })
        .collect()
}

/// Words of 32 bits, each as it lies in memory here.
fn parse_address(text: &str) -> Option<IpAddr> {
    let mut bytes = Vec::new();
    for start in (0..text.len()).step_by(8) {
        let word = u32::from_str_radix(text.get(start..start + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    if let Ok(four) = <[u8; 4]>::try_from(bytes.as_slice()) {
        return Some(IpAddr::V4(Ipv4Addr::from(four)));
    }
    let sixteen = <[u8; 16]>::try_from(bytes.as_slice()).ok()?;
    // `::ffff:10.0.0.1` is an address of the other family.
    Some(Ipv6Addr::from(sixteen).to_canonical())
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
        let expected = ["127.0.0.1:8080", "[::]:80"].map(|at| at.parse().unwrap());
        assert_eq!(parse(text), expected.into());
    }

    #[test]
    fn a_real_listener_is_seen() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(listened().contains(&port));
        assert!(listeners().contains(&listener.local_addr().unwrap()));
        drop(listener);
        assert!(!listened().contains(&port));
    }
}
