//! The fields of every object of the model, for the slow path. A field that the model gains and this list lacks
//! does not compile.

use super::account::{Group, User};
use super::cron_run::CronRun;
use super::dns::{Dns, DnsKey};
use super::envelope::Signature;
use super::evict::Evict;
use super::file::FileEntry;
use super::model::{
    Aliases, Cache, CacheList, Cluster, CronJob, Database, Fleet, ListFormat, Product, Role,
    Server, ServerState, Snapshots,
};
use super::package::PackageFields;
use super::php::{Php, PoolManager};
use super::pointer::Place;
use super::release::{BeforeSwitch, Release, SmokeTest};
use super::rollout::Rollout;
use super::secret::SecretSource;
use super::service::Service;
use super::site::{BasicAuth, DirectoryOption, Override, Redirect, Satisfy, Scheme, Site};
use super::tls::{Tls, TlsKeyFields, TlsKeySecret};
use super::tree::Node;
use super::walk::{Field, Walk, Walker, any_text, of, word};

/// Lists the fields of one object. `later`: fields of the format that later versions of the agent know.
macro_rules! object {
    ($type:ident, required: [$($required:ident),*], optional: [$($optional:ident),*], later: [$($later:literal),*]) => {
        impl Walk for $type {
            fn walk(node: &Node<'_>, at: &Place<'_>, walker: &mut Walker<'_>) -> bool {
                fn _all($type { $($required: _,)* $($optional: _,)* }: &$type) {}
                let fields = [
                    $(Field { name: stringify!($required), required: true, walk: of(|of: &$type| &of.$required) },)*
                    $(Field { name: stringify!($optional), required: false, walk: of(|of: &$type| &of.$optional) },)*
                ];
                walker.object(node, at, &fields, &[$($later),*])
            }
        }
    };
}

macro_rules! words {
    ($($type:ident),*) => {
        $(impl Walk for $type {
            fn walk(node: &Node<'_>, at: &Place<'_>, walker: &mut Walker<'_>) -> bool {
                word::<Self>(node, at, walker)
            }
        })*
    };
}

object!(Fleet,
    required: [format, fleet, version, issued, expires, servers],
    optional: [domain, confirm, rollout, roles, clusters, products],
    later: []);
object!(Rollout,
    required: [bake],
    optional: [canaries, waves, patience],
    later: []);
object!(Server,
    required: [address],
    optional: [public, zone, roles, products, instance, state],
    later: []);
object!(Role,
    required: [],
    optional: [groups, users, cron, packages, services, files],
    later: []);
object!(Group,
    required: [gid],
    optional: [on],
    later: []);
object!(User,
    required: [uid],
    optional: [group, groups, exclusive, home, shell, comment, keys, sudo, remove, on],
    later: []);
object!(Product,
    required: [],
    optional: [groups, users, sites, php, cache, caches, database, cron, packages, services, files, release, dns, smoke, evict],
    later: []);
object!(Evict,
    required: [],
    optional: [web, cache],
    later: []);
object!(Dns,
    required: [zone, names],
    optional: [ttl, server, key],
    later: []);
object!(DnsKey,
    required: [file],
    optional: [],
    later: []);
object!(Release,
    required: [version, object, sha256],
    optional: [user, shared, keep, before, on],
    later: []);
object!(BeforeSwitch,
    required: [command],
    optional: [run, timeout],
    later: []);
object!(SmokeTest,
    required: [site, path],
    optional: [status, header, contains, lacks, within, retries, warm_up],
    later: []);
object!(Site,
    required: [domains],
    optional: [root, redirect, port, ports, scheme, trusted_proxies, allow, auth, aliases, no_php,
        allow_override, options, error_documents, headers, access_log, tls, template],
    later: []);
object!(Tls,
    required: [certificate, key],
    optional: [redirect, hsts, http2],
    later: []);
object!(TlsKeyFields,
    required: [secret],
    optional: [],
    later: []);
object!(TlsKeySecret,
    required: [file],
    optional: [],
    later: []);
object!(Php,
    required: [user, children],
    optional: [group, manager, idle, requests, timeout, ini, fixed_ini, environment],
    later: []);
object!(Redirect,
    required: [to],
    optional: [status, keep_path],
    later: []);
object!(BasicAuth,
    required: [file],
    optional: [realm, satisfy],
    later: []);
object!(Cache,
    required: [memory],
    optional: [port, listen, socket, item_size, connections, threads, weights, list],
    later: []);
object!(CacheList,
    required: [path, format],
    optional: [reload, replace],
    later: []);
object!(Cluster,
    required: [chain],
    optional: [never, port, semi_sync, snapshots, lease],
    later: []);
object!(Database,
    required: [],
    optional: [cluster, chain, never, port, semi_sync, snapshots, lease, aliases],
    later: []);
object!(Snapshots,
    required: [server, every],
    optional: [prove, keep, archive],
    later: []);
object!(Aliases,
    required: [],
    optional: [master, replica],
    later: []);
object!(CronJob,
    required: [schedule, user, command],
    optional: [on, run, environment, shell, mailto, timezone, lock, timeout, nice, record],
    later: []);
object!(PackageFields,
    required: [name],
    optional: [debian, version, downgrade, absent, on],
    later: []);
object!(FileEntry,
    required: [],
    optional: [content, template, object, sha256, directory, link, secrets, mode, owner, group, check, reload,
        restart, on, replace, debian],
    later: []);
object!(SecretSource,
    required: [],
    optional: [file, aws, field],
    later: []);
object!(Service,
    required: [],
    optional: [running, enabled, on],
    later: []);
object!(Signature,
    required: [key, sshsig],
    optional: [],
    later: []);
words!(
    ServerState,
    ListFormat,
    CronRun,
    PoolManager,
    Scheme,
    Satisfy,
    Override,
    DirectoryOption
);

/// Walks the whole file, envelope included.
pub(super) fn walk_file(node: &Node<'_>, walker: &mut Walker<'_>) -> bool {
    let fields = [
        Field {
            name: "signed",
            required: true,
            walk: Fleet::walk,
        },
        Field {
            name: "signatures",
            required: false,
            walk: Vec::<Signature>::walk,
        },
        Field {
            name: "$schema",
            required: false,
            walk: any_text,
        },
    ];
    walker.object(node, &Place::TOP, &fields, &[])
}
