//! Addresses as Apache's configuration writes them: of `Listen` and of `<VirtualHost>`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address of a `<VirtualHost>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct VhostAddress {
    /// The host as it is written, `*` for all of them.
    pub host: String,
    /// The port. `None`: all of them.
    pub port: Option<u16>,
}

impl VhostAddress {
    /// Whether it stands for all addresses of the machine.
    pub(in super::super) fn is_any(&self) -> bool {
        self.host == "*"
    }
}

/// A `Listen` argument as a port and the address that is listened at, `::` for all of both families.
pub(super) fn listen(argument: &str) -> Option<(u16, IpAddr)> {
    const ALL: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let Some((host, port)) = argument.rsplit_once(':') else {
        return Some((argument.parse().ok()?, ALL));
    };
    let address = match host.trim_start_matches('[').trim_end_matches(']') {
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        // A name may be any address of this machine.
        host => host.parse().unwrap_or(ALL),
    };
    Some((port.parse().ok()?, address))
}

/// An argument of `<VirtualHost>`. `None`: it is none.
pub(super) fn vhost(argument: &str) -> Option<VhostAddress> {
    let argument = argument.trim_end_matches('>');
    let host_ends = argument.find(']').map_or(0, |bracket| bracket + 1);
    let (host, port) = match argument
        .get(host_ends..)
        .and_then(|rest| rest.rfind(':'))
        .map(|colon| argument.split_at(host_ends + colon))
    {
        Some((host, port)) => (host, port.trim_start_matches(':')),
        None => (argument, "*"),
    };
    if host.is_empty() {
        return None;
    }
    let host = match host {
        "_default_" | "0.0.0.0" | "[::]" => "*",
        host => host,
    };
    let port = match port {
        "*" => None,
        port => Some(port.parse().ok()?),
    };
    Some(VhostAddress {
        host: host.to_owned(),
        port,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_vhosts_read_as_apache_reads_them() {
        let read = |text| vhost(text).map(|address| (address.host, address.port));
        let any = |port| Some(("*".to_owned(), port));
        assert_eq!(read("*>"), any(None));
        assert_eq!(read("*:*>"), any(None));
        assert_eq!(read("_default_>"), any(None));
        assert_eq!(read("_default_:443>"), any(Some(443)));
        assert_eq!(read("*:80"), any(Some(80)));
        assert_eq!(read("[::]:80>"), any(Some(80)));
        assert_eq!(read("10.0.0.1>"), Some(("10.0.0.1".into(), None)));
        assert_eq!(read("[fd00::1]:80>"), Some(("[fd00::1]".into(), Some(80))));
        assert_eq!(read("[fd00::1]>"), Some(("[fd00::1]".into(), None)));
        assert_eq!(read("web-1:80>"), Some(("web-1".into(), Some(80))));
        assert_eq!(read(">"), None);
        assert_eq!(read("*:http>"), None);
    }

    #[test]
    fn addresses_of_listen() {
        let all = "::".parse().unwrap();
        assert_eq!(listen("80"), Some((80, all)));
        assert_eq!(listen("[::]:80"), Some((80, all)));
        assert_eq!(
            listen("localhost:80"),
            Some((80, "127.0.0.1".parse().unwrap()))
        );
        assert_eq!(
            listen("10.0.0.1:80"),
            Some((80, "10.0.0.1".parse().unwrap()))
        );
        assert_eq!(listen("80x"), None);
    }
}
