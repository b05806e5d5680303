//! memcached: each product's node list file and, on memcached servers, its instance.
//!
//! They are separate steps: an instance that does not start must not put a good list back.

mod list;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    Activation, Desired, GuardedList, LineOrigin, ObserveError, Phase, Probe, Question, Resource,
    Step, Text, Thing, Verb, Want, Wish,
};
use crate::fleet::{CacheList, Name, Pointer};
use crate::node::{CacheView, View};
use crate::report::{Kind, StepName};
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
            if let Some(list) = &cache.cache.list {
                desire_list(&mut desired, product, cache, list, platform);
            }
        }
        desired
    }
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

fn desire_list(
    desired: &mut Desired,
    product: &Name,
    cache: &CacheView,
    list: &CacheList,
    platform: &Platform,
) {
    let step = StepName(format!("cache/{product}"));
    let origin = Pointer(format!("{}/list", cache.origin));
    let thing = Thing::Path(list.path.as_str().into());
    if cache.nodes.is_empty() {
        // Never an empty list: the product's code would take it for "no cache" and fall on the database.
        let message = format!(
            "{product} has no active memcached server, so its node list {} stays as it is. Give a server of the role memcached the product, or take the list out of the document",
            list.path
        );
        desired.claims.push(thing);
        return desired.hold(Kind::Cache, step, message, Some(origin));
    }
    let rendered = list::render(list.format, cache.cache.port, &cache.nodes);
    if let Err(why) = list::check(list.format, &rendered.text, cache.cache.port, &cache.nodes) {
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
            .zip(&cache.nodes)
            .map(|(line, (server, _))| LineOrigin {
                line: Some(line),
                pointer: Pointer(format!("/signed/servers/{server}")),
            }),
    );
    let mut wanted = Step::new(Kind::Cache, step);
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
        entries: (cache.nodes.iter())
            .map(|(name, _)| name.to_string())
            .collect(),
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

fn instance(product: &Name, cache: &CacheView, own: IpAddr, platform: &Platform) -> Step {
    let listen = cache.cache.listen.unwrap_or(own);
    let port = cache.cache.port.get();
    let env = platform.memcached_dir.join(format!("{product}.env"));
    let text = format!(
        "# Written by node-agent for memcached of {product}; edit the fleet document instead.\n\
         LISTEN={}\nPORT={port}\nMEMORY={}\n",
        // In brackets no version of memcached can take the last group for a port.
        match listen {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        },
        cache.cache.memory.mebibytes(),
    );
    let line = |line, field: &str| LineOrigin {
        line: Some(line),
        pointer: Pointer(format!("{}{field}", cache.origin)),
    };
    let whole = LineOrigin {
        line: None,
        pointer: cache.origin.clone(),
    };
    let listens = match cache.cache.listen {
        Some(_) => line(2, "/listen"),
        None => LineOrigin {
            line: Some(2),
            ..whole.clone()
        },
    };
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
            origins: vec![whole.clone(), listens, line(3, "/port"), line(4, "/memory")],
        },
        Want {
            thing: Thing::Unit(format!("{}{product}.service", platform.memcached_template)),
            wish: Wish::Running { reads: vec![env] },
            phase: Phase::Activate,
            shown_as: None,
            origins: vec![whole],
        },
    ];
    step.probes = vec![Probe {
        member: None,
        question: Question::Memcached {
            address: reachable(listen),
            port,
        },
    }];
    step
}

/// Where to ask an instance that listens on `listen`: "everywhere" is no address to connect to.
fn reachable(listen: IpAddr) -> IpAddr {
    match listen {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    }
}
