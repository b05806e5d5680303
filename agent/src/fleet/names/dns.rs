//! What DNS is told: how long others may remember, and where its server is.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer};
use smol_str::SmolStr;

use super::{InvalidString, Written, read_written};

super::amounts::bounded!(
    /// How long others may remember a record, 1 second to a day.
    Ttl(u32), 1 to 86_400, expected: "a number of seconds from 1 to 86400"
);

/// The port of name servers.
const PORT: u16 = 53;

typed_string!(
    /// A name server: an address or a host name, with or without a port.
    DnsServer,
    expected: "a name server such as 10.0.0.53, ns1.example.com or [2001:db8::53]:5353",
    pattern: "^[0-9a-z.:\\[\\]-]{1,261}$",
    accepts: |text| split(text).is_some()
);

impl DnsServer {
    /// Its host, an address without brackets or a name, and its port.
    pub fn host_and_port(&self) -> (&str, u16) {
        split(self.as_str()).unwrap_or((self.as_str(), PORT))
    }
}

fn split(text: &str) -> Option<(&str, u16)> {
    if text.parse::<IpAddr>().is_ok() {
        return Some((text, PORT));
    }
    if text
        .parse::<SocketAddr>()
        .is_ok_and(|address| address.port() != 0)
    {
        let (host, port) = text.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        return Some((host, port.parse().ok()?));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => {
            let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
            let port = digits.then(|| port.parse().ok()).flatten()?;
            (host, port)
        }
        None => (text, PORT),
    };
    (port != 0 && super::is_host_name(host, super::is_label)).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_an_address_or_a_name_with_or_without_a_port() {
        for (text, host, port) in [
            ("10.0.0.53", "10.0.0.53", 53),
            ("10.0.0.53:5353", "10.0.0.53", 5353),
            ("2001:db8::53", "2001:db8::53", 53),
            ("[2001:db8::53]:5353", "2001:db8::53", 5353),
            ("ns1.example.com", "ns1.example.com", 53),
            ("ns1.example.com:5353", "ns1.example.com", 5353),
        ] {
            let server: DnsServer = text.parse().unwrap();
            assert_eq!(server.host_and_port(), (host, port), "{text}");
        }
        for text in [
            "",
            ":53",
            "10.0.0.53:0",
            "ns1:x",
            "ns1:",
            "ns 1",
            "[::1]",
            "https://ns1",
            "ns1:+53",
        ] {
            assert!(text.parse::<DnsServer>().is_err(), "{text}");
        }
    }
}
