//! Apache's own table of its virtual hosts, as `-D DUMP_VHOSTS` prints it: which of them answers where, to which name.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// The host of a vhost for all addresses.
const ANY: &str = "*";

/// The table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VhostTable {
    /// In Apache's order: of an address with a port and the same without one, the first counts.
    chains: Vec<Chain>,
}

/// The vhosts that share an address.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Chain {
    /// `*` for all.
    host: String,
    /// `None`: all.
    port: Option<u16>,
    /// In order; the first answers names that none of them has.
    vhosts: Vec<Vhost>,
}

/// A virtual host at one of its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vhost {
    /// Its `ServerName`.
    pub name: String,
    /// Its other names, some with `*`. Where it is alone at its address Apache does not tell them, and they do not matter.
    pub aliases: Vec<String>,
    /// `file:line`.
    pub place: String,
}

impl VhostTable {
    /// Reads what Apache prints. `None`: it is no such table.
    pub fn parse(said: &str) -> Option<Self> {
        let mut lines = said.lines();
        lines.find(|line| line.trim() == "VirtualHost configuration:")?;
        let mut table = Self::default();
        for line in lines {
            let is_indented = line.starts_with([' ', '\t']);
            let words = line.trim();
            let last = table.chains.last_mut();
            if is_indented {
                let Some(chain) = last else { continue };
                let alias = words
                    .strip_prefix("wild alias ")
                    .or_else(|| words.strip_prefix("alias "));
                if let Some(alias) = alias {
                    if let Some(vhost) = chain.vhosts.last_mut() {
                        vhost.aliases.push(alias.trim().to_owned());
                    }
                } else if let Some((_, named)) = words.split_once(" namevhost ") {
                    chain.vhosts.extend(vhost(named));
                }
            } else if let Some((address, rest)) = words.split_once(char::is_whitespace)
                && let Some((host, port)) = address.rsplit_once(':')
                && let Ok(port) = read_port(port)
            {
                table.chains.push(Chain {
                    host: host.to_owned(),
                    port,
                    vhosts: vhost(rest.trim()).into_iter().collect(),
                });
            }
        }
        Some(table)
    }

    /// Whether a vhost is written in a file below `dir`.
    pub fn has_of(&self, dir: &Path) -> bool {
        let mut vhosts = self.chains.iter().flat_map(|chain| &chain.vhosts);
        vhosts.any(|vhost| vhost.is_of(dir))
    }

    /// The vhost that a request for `name` at this address gets. `None`: the server itself answers.
    pub fn answering(&self, at: SocketAddr, name: &str) -> Option<&Vhost> {
        let chain = self.chain(&written(at.ip()), at.port())?;
        let by_name = chain.vhosts.iter().find(|vhost| vhost.has_name(name));
        by_name.or_else(|| chain.vhosts.first())
    }

    /// What of others would not be reached any more with `after` in place of this table, as a sentence. `own`: the directory of
    /// the agent's vhosts; `ports`: those that others listen on.
    pub fn loss(&self, after: &Self, own: &Path, ports: &BTreeSet<u16>) -> Option<String> {
        let chains = self.chains.iter().chain(&after.chains);
        let hosts: BTreeSet<&str> = chains.map(|chain| chain.host.as_str()).collect();
        for &port in ports {
            for host in &hosts {
                let Some(before) = self.chain(host, port) else {
                    continue;
                };
                let now = after.chain(host, port);
                let places: BTreeSet<&str> = (now.iter().flat_map(|chain| &chain.vhosts))
                    .map(|vhost| vhost.place.as_str())
                    .collect();
                let mut others = before.vhosts.iter().filter(|vhost| !vhost.is_of(own));
                if let Some(gone) = others.find(|vhost| !places.contains(vhost.place.as_str())) {
                    return Some(format!(
                        "{} ({}) answers at {host}:{port} now and would not any more, for this document's sites would stand before it: write that address and port into its <VirtualHost>",
                        gone.name, gone.place
                    ));
                }
                let first = before.vhosts.first().filter(|vhost| !vhost.is_of(own));
                let next = now.and_then(|chain| chain.vhosts.first());
                if let (Some(first), Some(next)) = (first, next)
                    && first.place != next.place
                {
                    return Some(format!(
                        "hosts that no site has get {} ({}) at {host}:{port} now and would get {} then, for that file is read after the agent's: have it read before",
                        first.name, first.place, next.name
                    ));
                }
            }
        }
        None
    }

    fn chain(&self, host: &str, port: u16) -> Option<&Chain> {
        let exact = |host: &str| {
            let of = self.chains.iter().filter(|chain| chain.host == host);
            of.clone()
                .find(|chain| chain.port == Some(port) || (host != ANY && chain.port.is_none()))
                .or_else(|| of.clone().find(|chain| chain.port.is_none()))
        };
        exact(host).or_else(|| exact(ANY))
    }
}

impl Vhost {
    /// Whether it is written in a file below `dir`.
    pub fn is_of(&self, dir: &Path) -> bool {
        Path::new(&self.place).starts_with(dir)
    }

    fn has_name(&self, name: &str) -> bool {
        (std::iter::once(&self.name).chain(&self.aliases)).any(|own| {
            if own.contains(['*', '?']) {
                let (own, name) = (own.to_ascii_lowercase(), name.to_ascii_lowercase());
                fits(own.as_bytes(), name.as_bytes())
            } else {
                own.eq_ignore_ascii_case(name)
            }
        })
    }
}

/// `NAME (FILE:LINE)`.
fn vhost(text: &str) -> Option<Vhost> {
    let (name, place) = text.strip_suffix(')')?.rsplit_once('(')?;
    Some(Vhost {
        name: name.trim().to_owned(),
        aliases: Vec::new(),
        place: place.to_owned(),
    })
}

fn read_port(text: &str) -> Result<Option<u16>, std::num::ParseIntError> {
    match text {
        "*" => Ok(None),
        digits => digits.parse().map(Some),
    }
}

/// An address as Apache writes it before a port.
fn written(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// Whether `name` fits a name in which `*` and `?` stand for others.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), None) => fits(rest, name),
        (Some((b'*', rest)), Some((_, more))) => fits(rest, name) || fits(pattern, more),
        (Some((b'?', rest)), Some((_, more))) => fits(rest, more),
        (Some((wanted, rest)), Some((got, more))) => wanted == got && fits(rest, more),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "/etc/apache2/agentd";

    /// As Apache 2.4 prints it.
    const BEFORE: &str = "Some warning first\nVirtualHost configuration:
[::1]:8180             six.example.com (/etc/apache2/six.conf:22)
127.0.0.2:*            any.example.com (/etc/apache2/any.conf:10)
127.0.0.2:8180         is a NameVirtualHost
         default server port.example.com (/etc/apache2/port.conf:13)
         port 8180 namevhost port.example.com (/etc/apache2/port.conf:13)
         port 8180 namevhost more.example.com (/etc/apache2/port.conf:22)
*:*                    is a NameVirtualHost
         default server one.example.com (/etc/apache2/one.conf:2)
         port * namevhost one.example.com (/etc/apache2/one.conf:2)
                 alias uno.example.com
                 wild alias *.one.example.com
         port * namevhost two.example.com (/etc/apache2/two.conf:7)
ServerRoot: \"/etc/apache2\"
Main DocumentRoot: \"/var/www/html\"
PidFile: \"/var/run/apache2/apache2.pid\"
";

    fn before() -> VhostTable {
        VhostTable::parse(BEFORE).unwrap()
    }

    /// The same with more chains before it.
    fn with(more: &str) -> VhostTable {
        let head = "VirtualHost configuration:\n";
        let mut table = VhostTable::parse(&format!("{head}{more}")).unwrap();
        table.chains.extend(before().chains);
        table
    }

    fn loss(after: &VhostTable, port: u16) -> Option<String> {
        before().loss(after, Path::new(OWN), &[port].into())
    }

    #[test]
    fn a_request_finds_its_vhost_as_apache_finds_it() {
        let table = before();
        let name = |at: &str, name: &str| {
            let found = table.answering(at.parse().unwrap(), name);
            found.map_or("the server", |vhost| &vhost.name).to_owned()
        };
        assert_eq!(name("10.0.0.1:80", "two.example.com"), "two.example.com");
        assert_eq!(name("10.0.0.1:80", "UNO.example.com"), "one.example.com");
        assert_eq!(name("10.0.0.1:80", "a.one.example.com"), "one.example.com");
        assert_eq!(name("10.0.0.1:80", "else.example.com"), "one.example.com");
        assert_eq!(name("127.0.0.2:80", "two.example.com"), "any.example.com");
        // The first in the configuration counts, though the second fits better.
        assert_eq!(
            name("127.0.0.2:8180", "more.example.com"),
            "any.example.com"
        );
        assert_eq!(name("[::1]:8180", "two.example.com"), "six.example.com");
        assert_eq!(VhostTable::parse("Syntax OK\n"), None);
        let none = VhostTable::parse("VirtualHost configuration:\nServerRoot: \"/x\"\n").unwrap();
        assert_eq!(none.answering("10.0.0.1:80".parse().unwrap(), "a"), None);
    }

    #[test]
    fn what_others_serve_is_lost_where_ours_stand_before_it() {
        assert_eq!(loss(&before(), 80), None);
        let hides = with("*:80  shop.example.com (/etc/apache2/agentd/staged/shop_www.conf:2)\n");
        insta::assert_snapshot!(loss(&hides, 80).unwrap(), @"one.example.com (/etc/apache2/one.conf:2) answers at *:80 now and would not any more, for this document's sites would stand before it: write that address and port into its <VirtualHost>");
        assert_eq!(loss(&hides, 81), None);
        assert!(hides.has_of(Path::new(OWN)) && !before().has_of(Path::new(OWN)));
        // What stood so before is no loss.
        assert_eq!(hides.loss(&hides, Path::new(OWN), &[80].into()), None);

        let mut joins = before();
        let own = Vhost {
            name: "shop.example.com".into(),
            aliases: Vec::new(),
            place: format!("{OWN}/staged/shop_www.conf:2"),
        };
        joins.chains[3].vhosts.push(own.clone());
        assert_eq!(loss(&joins, 80), None);
        joins.chains[3].vhosts.insert(0, own);
        insta::assert_snapshot!(loss(&joins, 80).unwrap(), @"hosts that no site has get one.example.com (/etc/apache2/one.conf:2) at *:80 now and would get shop.example.com then, for that file is read after the agent's: have it read before");
    }
}
