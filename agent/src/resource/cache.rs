//! memcached: each product's node list file and, on memcached servers, its instance.
//!
//! They are separate steps: an instance that does not start must not put a good list back.

mod list;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    Activation, Desired, GuardedList, LineOrigin, ObserveError, Phase, Probe, Question, Resource,
    Step, Text, Thing, Verb, Want, Wish,
};
use crate::fleet::{CacheList, ListFormat, Name, Pointer};
use crate::node::{CacheName, CacheView, View};
use crate::report::{Kind, Problem, Severity, StepName};
use crate::system::file::Files;
use crate::system::platform::Platform;

/// The files that list a product's memcached nodes.
#[derive(Debug, Clone, Copy, Default)]
pub struct CacheLists;

impl Resource for CacheLists {
    type Facts = ();

    fn kind(&self) -> Kind {
        Kind::Cache
    }

    async fn observe(
        &self,
        _view: &View,
        _platform: &Platform,
        _files: &Files,
    ) -> Result<(), ObserveError> {
        Ok(())
    }

    fn desired(&self, view: &View, platform: &Platform, (): &()) -> Desired {
        let mut desired = Desired::default();
        for (product, cache) in &view.caches {
            // A socket is of use on its own server only.
            let is_of_use = cache.instance || !cache.cache.socket;
            if let Some(list) = cache.cache.list.as_ref().filter(|_| is_of_use) {
                desire_list(&mut desired, view, product, cache, list, platform);
            }
        }
        desired
    }
}

/// Whether a file is a node list in this format, or an empty file on its way to be one.
pub fn reads_as_list(format: ListFormat, bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes)
        .is_ok_and(|text| text.trim().is_empty() || list::read(format, text).is_ok())
}

/// The memcached instances of a memcached server.
#[derive(Debug, Clone, Copy, Default)]
pub struct CacheInstances;

impl Resource for CacheInstances {
    type Facts = ();

    fn kind(&self) -> Kind {
        Kind::Cache
    }

    async fn observe(
        &self,
        _view: &View,
        _platform: &Platform,
        _files: &Files,
    ) -> Result<(), ObserveError> {
        Ok(())
    }

    fn desired(&self, view: &View, platform: &Platform, (): &()) -> Desired {
        let here = view.caches.iter().filter(|(_, cache)| cache.instance);
        Desired {
            steps: here
                .map(|(product, cache)| instance(product, cache, view.server.address, platform))
                .collect(),
            ..Desired::default()
        }
    }
}

/// The directory of the instances' Unix sockets: `RuntimeDirectory=` of the template unit.
const SOCKETS: &str = "/run/agentd-memcached";

fn socket(product: &CacheName) -> String {
    format!("{SOCKETS}/{product}/memcached.sock")
}

/// The nodes as the list has them.
fn nodes(view: &View, product: &CacheName, cache: &CacheView) -> Vec<list::Node> {
    if cache.cache.socket {
        return vec![list::Node {
            name: view.name.to_string(),
            host: socket(product),
            port: 0,
            weight: None,
        }];
    }
    let weights = &cache.cache.weights;
    let weight = |name: &Name| weights.get(name).map_or(1, |weight| weight.get());
    (cache.nodes.iter())
        .map(|(name, address)| list::Node {
            name: name.to_string(),
            host: address.to_string(),
            port: cache.cache.port.map_or(0, crate::fleet::names::Port::get),
            weight: (!weights.is_empty()).then(|| weight(name)),
        })
        .collect()
}

fn desire_list(
    desired: &mut Desired,
    view: &View,
    product: &CacheName,
    cache: &CacheView,
    list: &CacheList,
    platform: &Platform,
) {
    let step = StepName(format!("cache/{product}"));
    let origin = Pointer(format!("{}/list", cache.origin));
    let thing = Thing::Path(list.path.as_str().into());
    let nodes = nodes(view, product, cache);
    if nodes.is_empty() {
        // Never an empty list: the product's code would take it for "no cache" and fall on the database.
        let message = format!(
            "{product} has no active memcached server, so its node list {} stays as it is. Give a server of the role memcached the product, or take the list out of the document",
            list.path
        );
        desired.claims.push(thing);
        return desired.hold(Kind::Cache, step, message, Some(origin));
    }
    let unread =
        (nodes.iter()).find(|node| node.host.contains(':') && !list::knows_ipv6(list.format));
    if let Some(node) = unread {
        let message = format!(
            "the clients that read the node list {} know no IPv6 addresses such as {}: it stays as it is. Choose another format, or give the server an IPv4 address",
            list.path, node.host
        );
        desired.claims.push(thing);
        return desired.hold(Kind::Cache, step, message, Some(origin));
    }
    for (server, out) in &cache.left_out {
        desired.problems.push(Problem {
            kind: Kind::Cache,
            step: Some(step.clone()),
            severity: Severity::Warning,
            message: format!(
                "{server} is left out of the node list of {product}: found dead by {} since {}",
                out.by_whom(),
                out.since
            ),
            origin: Some(Pointer(format!("/signed/servers/{server}"))),
        });
    }
    let rendered = list::render(list.format, &nodes);
    if let Err(why) = list::check(list.format, &rendered.text, &nodes) {
        let message = format!(
            "the node list of {product} does not read back as it was meant ({why}); the present one stays. This is a fault of the agent: please report it with the document"
        );
        desired.claims.push(thing);
        return desired.hold(Kind::Cache, step, message, Some(origin));
    }

    let mut origins = vec![LineOrigin {
        line: None,
        pointer: origin,
    }];
    origins.extend(
        rendered
            .lines
            .into_iter()
            .zip(&nodes)
            .map(|(line, node)| LineOrigin {
                line: Some(line),
                pointer: Pointer(format!("/signed/servers/{}", node.name)),
            }),
    );
    let mut wanted = Step::new(Kind::Cache, step);
    if !list.replace {
        wanted.not_over_others.insert(thing.clone());
        wanted.takes_over = Some(list.format);
    }
    wanted.wants.push(Want {
        thing,
        wish: Wish::File {
            text: Text::plain(rendered.text),
            mode: 0o644,
        },
        phase: Phase::Commit,
        shown_as: None,
        origins,
    });
    wanted.list = Some(GuardedList {
        what: format!("memcached nodes of {product}"),
        entries: nodes.into_iter().map(|node| node.name).collect(),
    });
    wanted.activate = (list.reload.iter())
        .map(|unit| Activation {
            unit: platform.unit(unit.as_str()),
            verb: Verb::ReloadIfRunning,
            log: None,
        })
        .collect();
    desired.steps.push(wanted);
}

fn instance(product: &CacheName, cache: &CacheView, own: IpAddr, platform: &Platform) -> Step {
    let said = &cache.cache;
    let listen = said
        .listen
        .as_ref()
        .map_or_else(|| vec![own], |listen| listen.as_slice().to_vec());
    let env = platform.memcached_dir.join(format!("{product}.env"));
    let line = |line, field: &str| LineOrigin {
        line: Some(line),
        pointer: Pointer(format!("{}/{field}", cache.origin)),
    };
    let whole = LineOrigin {
        line: None,
        pointer: cache.origin.clone(),
    };
    let mut origins = vec![whole.clone()];
    let (options, said_by) = options(product, cache);
    // In brackets no version of memcached can take the last group for a port.
    let written = listen.iter().map(|address| match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    });
    let mut written = written.collect::<Vec<_>>().join(",");
    if said.socket {
        // With `-s` memcached listens on no port, whatever these say.
        "127.0.0.1".clone_into(&mut written);
    }
    origins.push(if said.listen.is_some() {
        line(2, "listen")
    } else {
        LineOrigin {
            line: Some(2),
            ..whole.clone()
        }
    });
    origins.push(line(3, if said.socket { "socket" } else { "port" }));
    origins.push(line(4, "memory"));
    let port = said.port.map_or(0, crate::fleet::names::Port::get);
    let mut text = format!(
        "# Written by node-agent for memcached of {product}; edit the fleet document instead.\n\
         LISTEN={written}\nPORT={port}\nMEMORY={}\n",
        said.memory.mebibytes(),
    );
    // Only where something is said: an instance is restarted, and emptied, where its file changes.
    if !options.is_empty() {
        let _ = writeln!(text, "OPTIONS={}", options.join(" "));
        origins.extend(said_by.into_iter().map(|field| line(5, field)));
    }
    let mut step = Step::new(Kind::Cache, StepName(format!("cache/{product}/instance")));
    step.wants = vec![
        Want {
            thing: Thing::Path(env.clone()),
            wish: Wish::File {
                text: Text::plain(text),
                mode: 0o644,
            },
            phase: Phase::Commit,
            shown_as: None,
            origins,
        },
        Want {
            thing: Thing::Unit(format!("{}{product}.service", platform.memcached_template)),
            wish: Wish::Running { reads: vec![env] },
            phase: Phase::Activate,
            shown_as: None,
            origins: vec![whole],
        },
    ];
    if !said.socket {
        step.probes = (listen.into_iter())
            .map(|address| Probe {
                member: None,
                question: Question::Memcached {
                    address: reachable(address),
                    port,
                },
                refusal: None,
            })
            .collect();
    }
    step
}

/// More of memcached's command line, words without spaces, and the fields that ask for it.
fn options(product: &CacheName, cache: &CacheView) -> (Vec<String>, Vec<&'static str>) {
    let said = &cache.cache;
    let mut options = Vec::new();
    let mut fields = Vec::new();
    if said.socket {
        // As open as a port of the machine is: to every account on it.
        options.push(format!("-s {} -a 0666", socket(product)));
        fields.push("socket");
    }
    if let Some(item) = said.item_size {
        options.push(format!("-I {}k", item.kibibytes()));
        fields.push("item_size");
    }
    if let Some(connections) = said.connections {
        options.push(format!("-c {}", connections.get()));
        fields.push("connections");
    }
    if let Some(threads) = said.threads {
        options.push(format!("-t {}", threads.get()));
        fields.push("threads");
    }
    (options, fields)
}

/// Where to ask an instance that listens on `listen`: "everywhere" is no address to connect to.
fn reachable(listen: IpAddr) -> IpAddr {
    match listen {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    }
}
