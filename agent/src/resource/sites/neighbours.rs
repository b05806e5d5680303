//! How the agent's virtual hosts stand among those of others, so that both are reached.
//!
//! Apache looks for the addresses of a `<VirtualHost>` first, the most exact ones, and only among the vhosts that share these
//! for names. So a vhost for `*:80` hides all that are written for `*` from requests to port 80, and one for `10.0.0.1:80`
//! hides it. The agent's take all addresses at which others listen on their port, and stand behind those.

use super::facts::ApacheFacts;
use super::scan::OthersVhost;

impl ApacheFacts {
    /// The addresses for the `<VirtualHost>` of a site on these ports, or why there are none that do no harm.
    pub(super) fn addresses(&self, ports: &[u16]) -> Result<String, String> {
        let mut addresses = Vec::new();
        let mut add = |address: String| {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        };
        for &port in ports {
            match self.loose_for_all(port) {
                Some(other) => {
                    self.share("*", ports, other)?;
                    add("*".to_owned());
                }
                None => add(on_all(port)),
            }
        }
        for other in &self.vhosts {
            for address in other.addresses.iter().filter(|address| !address.is_any()) {
                let host = &address.host;
                for &port in ports {
                    match address.port {
                        Some(theirs) if theirs == port => add(format!("{host}:{port}")),
                        None if !self.has(host, port) => {
                            self.share(host, ports, other)?;
                            add(host.clone());
                        }
                        _ => {}
                    }
                }
            }
        }
        Ok(addresses.join(" "))
    }

    /// Whether hosts that no site has are answered by a vhost of somebody else's on this port.
    pub(super) fn has_default(&self, port: u16) -> bool {
        let has_first = |theirs| {
            (self.vhosts.iter().filter(|other| other.first))
                .flat_map(|other| &other.addresses)
                .any(|address| address.is_any() && address.port == theirs)
        };
        has_first(Some(port)) || self.loose_for_all(port).is_some()
    }

    /// A vhost for all addresses and all ports that answers requests to this one.
    fn loose_for_all(&self, port: u16) -> Option<&OthersVhost> {
        let is_loose = |other: &&OthersVhost| {
            (other.addresses.iter()).any(|address| address.is_any() && address.port.is_none())
        };
        // On a port that is opened for the sites only it has answered nobody yet.
        let open = self.listens.contains_key(&port) && !self.has("*", port);
        self.vhosts.iter().find(is_loose).filter(|_| open)
    }

    /// Whether somebody else has a vhost for exactly this address and port.
    fn has(&self, host: &str, port: u16) -> bool {
        (self.vhosts.iter())
            .flat_map(|other| &other.addresses)
            .any(|address| address.host == host && address.port == Some(port))
    }

    /// A site of this port can share an address without port only where that means no other port: else it would be reached
    /// where the document does not have it.
    fn share(&self, host: &str, ports: &[u16], other: &OthersVhost) -> Result<(), String> {
        let is_elsewhere = |theirs: &&u16| !ports.contains(theirs) && !self.has(host, **theirs);
        let Some(elsewhere) = self.listens.keys().find(is_elsewhere) else {
            return Ok(());
        };
        let port = ports.iter().map(ToString::to_string);
        let port = port.collect::<Vec<_>>().join(" and ");
        let written = ports.iter().map(|port| format!("{host}:{port}"));
        let written = written.collect::<Vec<_>>().join(" ");
        Err(format!(
            "<VirtualHost {host}> ({}) names no port, so it answers on port {elsewhere} too: a site on port {port} beside it would be reached there as well, and one before it would hide it. Write the ports that it is for into it: <VirtualHost {written}>",
            other.place
        ))
    }
}

/// The addresses of a site that has its ports for itself.
pub(super) fn alone(ports: &[u16]) -> String {
    let addresses: Vec<String> = ports.iter().copied().map(on_all).collect();
    addresses.join(" ")
}

fn on_all(port: u16) -> String {
    format!("*:{port}")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::scan::{Listened, Place, VhostAddress};
    use super::*;

    /// Facts with these ports and, in order, vhosts of these addresses.
    fn facts(ports: &[u16], vhosts: &[&[(&str, Option<u16>)]]) -> ApacheFacts {
        let place = Place {
            path: Path::new("/etc/apache2/one.conf").into(),
            line: 3,
        };
        let listened = Listened {
            addresses: ["::".parse().unwrap()].into(),
            place: None,
        };
        let address = |(host, port): &(&str, Option<u16>)| VhostAddress {
            host: (*host).into(),
            port: *port,
        };
        ApacheFacts {
            listens: ports.iter().map(|port| (*port, listened.clone())).collect(),
            vhosts: (vhosts.iter())
                .map(|addresses| OthersVhost {
                    addresses: addresses.iter().map(address).collect(),
                    place: place.clone(),
                    first: true,
                })
                .collect(),
            ..ApacheFacts::default()
        }
    }

    #[test]
    fn a_site_stands_where_others_stand_on_its_port() {
        let alone = facts(&[80], &[]);
        assert_eq!(alone.addresses(&[80]).unwrap(), "*:80");
        assert!(!alone.has_default(80));
        let usual = facts(&[80, 443], &[&[("*", Some(80))], &[("*", Some(443))]]);
        assert_eq!(usual.addresses(&[80]).unwrap(), "*:80");
        assert!(usual.has_default(80) && !usual.has_default(8080));
        let own = facts(
            &[80],
            &[
                &[("*", Some(80))],
                &[("10.0.0.1", Some(80)), ("10.0.0.2", Some(81))],
            ],
        );
        assert_eq!(own.addresses(&[80]).unwrap(), "*:80 10.0.0.1:80");
    }

    #[test]
    fn a_vhost_without_port_is_joined_where_that_is_one_port() {
        let one = facts(&[80], &[&[("*", None)], &[("*", None)]]);
        assert_eq!(one.addresses(&[80]).unwrap(), "*");
        assert!(one.has_default(80));
        // A port for the sites only is nobody else's.
        assert_eq!(one.addresses(&[8080]).unwrap(), "*:8080");
        assert!(!one.has_default(8080));
        let with_tls = facts(&[80, 443], &[&[("*", None)], &[("*", Some(443))]]);
        assert_eq!(with_tls.addresses(&[80]).unwrap(), "*");
        // It hides those without port already.
        let hidden = facts(&[80], &[&[("*", None)], &[("*", Some(80))]]);
        assert_eq!(hidden.addresses(&[80]).unwrap(), "*:80");
    }

    #[test]
    fn a_site_of_several_ports_may_share_all_of_them() {
        let several = facts(&[80, 8080], &[&[("*", None)], &[("10.0.0.1", Some(8080))]]);
        assert_eq!(several.addresses(&[80, 8080]).unwrap(), "* 10.0.0.1:8080");
        assert_eq!(alone(&[80, 8080]), "*:80 *:8080");
    }

    #[test]
    fn a_vhost_without_port_that_means_several_cannot_be_joined() {
        let several = facts(&[80, 8080], &[&[("*", None)]]);
        insta::assert_snapshot!(several.addresses(&[80]).unwrap_err(), @"<VirtualHost *> (/etc/apache2/one.conf:3) names no port, so it answers on port 8080 too: a site on port 80 beside it would be reached there as well, and one before it would hide it. Write the ports that it is for into it: <VirtualHost *:80>");
        let own = facts(&[80], &[&[("10.0.0.1", None)]]);
        assert_eq!(own.addresses(&[80]).unwrap(), "*:80 10.0.0.1");
        assert!(own.addresses(&[8080]).is_err());
        let both = facts(&[80], &[&[("10.0.0.1", Some(80)), ("10.0.0.1", None)]]);
        assert_eq!(both.addresses(&[80]).unwrap(), "*:80 10.0.0.1:80");
    }
}
