//! Promise: `kill -9` at any step of a run does no harm. Every managed file is the old one or the new one, whole; the next
//! start converges to the same bytes as if nothing had happened, owns the same paths, and leaves no temporary file.

#![cfg(test)]

use std::time::Duration;

use node_agent_tests::machine::Trouble;
use node_agent_tests::scratch::{Scratch, Stands, Tree};
use serde_json::{Value, json};

/// More points than any run here has: the sweep must end by a run that completes.
const MOST_POINTS: usize = 2000;

/// Stands there before the agent comes, as the document wishes it.
const ADOPTED: &str = "etc/video/memcached.list";
const ADOPTED_TEXT: &str = "10.77.0.21:11311\n";

/// A web server with something of every resource.
fn first() -> Value {
    json!({"signatures": [], "signed": {
        "format": 1, "fleet": "crash", "version": 1,
        "issued": "2026-01-01T00:00:00Z", "expires": "2126-01-01T00:00:00Z",
        "servers": {
            "web-1": {"address": "10.77.0.11", "roles": ["web"], "products": ["shop", "video"]},
            "cache-1": {"address": "10.77.0.21", "roles": ["memcached"], "products": ["shop", "video"]},
            "cache-2": {"address": "10.77.0.22", "roles": ["memcached"], "products": ["shop"]},
            "db-1": {"address": "10.77.0.31", "roles": ["database"], "products": ["shop"]},
            "db-2": {"address": "10.77.0.32", "roles": ["database"], "products": ["shop"]},
        },
        "roles": {
            "web": {"files": {
                "/etc/motd": {"content": "the agent's\n", "replace": true, "mode": "0640"},
                "/etc/banner": {"link": "motd", "replace": true},
                "/srv/files": {"directory": true, "mode": "0750"},
                "/srv/files/kept": {"template": "{{ node.name }}\n"},
                "/srv/files/removed": {"content": "before\n"},
                "/srv/files/read": {"content": "before\n", "reload": ["httpd"]},
                "/srv/files/read-too": {"content": "before\n", "reload": ["httpd"]},
            }},
            "memcached": {}, "database": {}
        },
        "products": {
            "shop": {
                "sites": {
                    "www": {"domains": ["shop.example.com"], "root": "/srv/shop"},
                    "old": {"domains": ["old.example.com"], "root": "/srv/old"},
                },
                "cache": {"port": 11211, "memory": "64M", "list": {"path": "/etc/shop/memcached.json", "format": "json"}},
                "database": {"chain": ["db-1", "db-2"], "aliases": {"master": ["mysql-master"]}},
                "cron": {
                    "kept": {"schedule": "@daily", "user": "root", "command": "true"},
                    "changed": {"schedule": "*/5 * * * *", "user": "root", "command": "before"},
                    "removed": {"schedule": "@hourly", "user": "root", "command": "true"},
                },
            },
            "video": {
                "cache": {"port": 11311, "memory": "64M", "list": {"path": "/etc/video/memcached.list", "format": "text"}},
            },
        },
    }})
}

/// Touches every resource: hosts, a node list, the vhosts, and cron jobs that are made, changed and removed.
fn second() -> Value {
    let mut document = first();
    let signed = &mut document["signed"];
    signed["version"] = 2.into();
    signed["servers"]["cache-3"] =
        json!({"address": "10.77.0.23", "roles": ["memcached"], "products": ["shop"]});
    let files = &mut signed["roles"]["web"]["files"];
    files["/srv/files/read"]["content"] = "after\n".into();
    files["/srv/files/created"] = json!({"content": "after\n"});
    if let Some(files) = files.as_object_mut() {
        files.remove("/srv/files/removed");
        // What stood there before comes back.
        files.remove("/etc/motd");
    }
    let shop = &mut signed["products"]["shop"];
    shop["database"]["chain"] = json!(["db-2", "db-1"]);
    shop["sites"]["new"] = json!({"domains": ["new.example.com"], "root": "/srv/new"});
    shop["cron"]["changed"]["command"] = "after".into();
    shop["cron"]["created"] =
        json!({"schedule": "17 4 * * *", "user": "root", "command": "true 100%"});
    if let Some(jobs) = shop["cron"].as_object_mut() {
        jobs.remove("removed");
    }
    if let Some(sites) = shop["sites"].as_object_mut() {
        sites.remove("old");
    }
    document
}

/// The server is no more: its agent takes everything away that it brought.
fn retired() -> Value {
    let mut document = second();
    document["signed"]["version"] = 9.into();
    document["signed"]["servers"]["web-1"]["state"] = "retired".into();
    document
}

/// A box with an own node list that happens to be as the document wants it.
fn pristine() -> Result<Scratch, Trouble> {
    let scratch = Scratch::new("web-1")?;
    scratch.write(ADOPTED, ADOPTED_TEXT)?;
    scratch.write("etc/motd", "somebody's\n")?;
    scratch.write("etc/banner", "somebody's\n")?;
    Ok(scratch)
}

/// What a change starts from and must end at, by an undisturbed run.
struct Change<'a> {
    pristine: &'a Tree,
    old: Tree,
    new: Tree,
    ledger: Value,
}

impl<'a> Change<'a> {
    /// Keeps the box as `start`, publishes `document`, and notes what a run makes of it.
    fn prepare(scratch: &Scratch, pristine: &'a Tree, document: &Value) -> Result<Self, Trouble> {
        scratch.keep("start")?;
        let old = scratch.tree()?;
        scratch.publish(document)?;
        scratch.converge(&[2])?;
        Ok(Self {
            pristine,
            old,
            new: scratch.tree()?,
            ledger: scratch.ledger()?,
        })
    }

    /// After a kill, before anything else runs.
    fn every_file_is_whole(&self, scratch: &Scratch) -> Result<(), Trouble> {
        let leftovers = scratch.leftovers()?;
        for (path, stands) in scratch.tree()? {
            let known = [self.old.get(&path), self.new.get(&path)];
            let made = matches!(stands, Stands::Directory(_)) && known == [None, None];
            // A directory comes with mkdir's mode and gets its own in the next call; one of a generation that never came to be.
            let directory = matches!(stands, Stands::Directory(_));
            if !(made || directory || leftovers.contains(&path) || known.contains(&Some(&stands))) {
                return Err(Trouble::new(format!(
                    "{} is neither the old one nor the new one: {stands:?}",
                    path.display()
                )));
            }
        }
        for path in self.old.keys().filter(|path| self.new.contains_key(*path)) {
            if !scratch.root().join(path).exists() && !scratch.root().join(path).is_symlink() {
                return Err(Trouble::new(format!("{} was gone", path.display())));
            }
        }
        Ok(())
    }

    /// The next start makes good whatever happened; the one after it has nothing to do; and all of it can go again.
    fn recovers(&self, scratch: &Scratch, and_retires: bool) -> Result<(), Trouble> {
        self.every_file_is_whole(scratch)?;
        scratch.converge(&[0, 2])?;
        same(&scratch.tree()?, &self.new)?;
        let ledger = scratch.ledger()?;
        if ledger != self.ledger {
            return Err(Trouble::new(format!(
                "the ledger is {ledger}\nbut was to be {}",
                self.ledger
            )));
        }
        nothing_left(scratch)?;
        if scratch.root().join("var/lib/agentd/pending").exists() {
            return Err(Trouble::new("something is pending for ever"));
        }
        let stamps = scratch.stamps()?;
        scratch.converge(&[0])?;
        if scratch.stamps()? != stamps {
            return Err(Trouble::new("the run after that wrote something"));
        }
        if and_retires {
            scratch.publish(&retired())?;
            scratch.converge(&[0, 2])?;
            same(&scratch.tree()?, self.pristine)?;
            nothing_left(scratch)?;
        }
        Ok(())
    }
}

fn nothing_left(scratch: &Scratch) -> Result<(), Trouble> {
    let left = scratch.leftovers()?;
    if left.is_empty() {
        Ok(())
    } else {
        Err(Trouble::new(format!("temporary files were left: {left:?}")))
    }
}

fn same(found: &Tree, wanted: &Tree) -> Result<(), Trouble> {
    for path in found.keys().chain(wanted.keys()) {
        let (is, should) = (found.get(path), wanted.get(path));
        if is != should {
            return Err(Trouble::new(format!(
                "{} is {is:?}, but was to be {should:?}",
                path.display()
            )));
        }
    }
    Ok(())
}

/// Kills a run for `document` at its first point, at its second, and so on until one completes. Returns how many there were.
fn sweep(scratch: &Scratch, pristine: &Tree, document: &Value) -> Result<usize, Trouble> {
    let change = Change::prepare(scratch, pristine, document)?;
    for point in 1..MOST_POINTS {
        scratch.come_back("start")?;
        scratch.publish(document)?;
        let crash = format!("AGENTD_CRASH_AT={point}");
        let run = scratch.run(&["env", &crash], &scratch.once())?;
        match run.code {
            None => {}
            Some(2) => return Ok(point - 1),
            code => {
                return Err(Trouble::new(format!(
                    "point {point}: it ended with {code:?}\n{}",
                    run.stderr
                )));
            }
        }
        change.recovers(scratch, true).map_err(|error| {
            Trouble::caused(
                format!("killed at point {point} ({})", run.stderr.trim()),
                error,
            )
        })?;
    }
    Err(Trouble::new("the run never completed"))
}

#[test]
fn killed_while_it_comes_to_a_box() {
    let scratch = pristine().unwrap();
    let untouched = scratch.tree().unwrap();
    let points = sweep(&scratch, &untouched, &first()).unwrap();
    assert!(points > 80, "only {points} points were passed");
}

#[test]
fn killed_while_it_changes_everything() {
    let scratch = pristine().unwrap();
    let untouched = scratch.tree().unwrap();
    scratch.publish(&first()).unwrap();
    scratch.converge(&[2]).unwrap();
    let points = sweep(&scratch, &untouched, &second()).unwrap();
    assert!(points > 80, "only {points} points were passed");
}

#[test]
fn killed_while_it_leaves_a_box() {
    let scratch = pristine().unwrap();
    let untouched = scratch.tree().unwrap();
    scratch.publish(&second()).unwrap();
    scratch.converge(&[2]).unwrap();
    let points = sweep(&scratch, &untouched, &retired()).unwrap();
    assert!(points > 40, "only {points} points were passed");
}

/// Calls before and after which there is no point in the code.
const CALLS: [&str; 11] = [
    "openat",
    "write",
    "fchmod",
    "fsync",
    "renameat",
    "mkdirat",
    "symlinkat",
    "unlinkat",
    "fallocate",
    "flock",
    "getdents64",
];

#[test]
fn killed_at_system_calls() {
    let scratch = pristine().unwrap();
    let untouched = scratch.tree().unwrap();
    scratch.publish(&first()).unwrap();
    scratch.converge(&[2]).unwrap();
    let change = Change::prepare(&scratch, &untouched, &second()).unwrap();
    let mut kills = 0;
    for call in CALLS {
        // Dense at first, then sparser: 1, 2, 3, 4, 6, 8, 11, 14, …
        let mut which = 1;
        loop {
            scratch.come_back("start").unwrap();
            scratch.publish(&second()).unwrap();
            let inject = format!("inject={call}:signal=SIGKILL:when={which}");
            let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &inject];
            let run = scratch.run(&strace, &scratch.once()).unwrap();
            if run.code == Some(2) {
                break;
            }
            assert_eq!(run.code, None, "{}", run.stderr);
            kills += 1;
            change
                .recovers(&scratch, false)
                .map_err(|error| Trouble::caused(format!("killed at {call} {which}"), error))
                .unwrap();
            which += 1 + which / 4;
        }
    }
    assert!(kills > 60, "only {kills} kills");
}

/// The seed of the moments at which runs are killed.
const SEED: u64 = 0x5EED;

#[test]
fn killed_at_any_moment_again_and_again() {
    let scratch = pristine().unwrap();
    let untouched = scratch.tree().unwrap();
    scratch.publish(&first()).unwrap();
    scratch.converge(&[2]).unwrap();
    let odd = scratch.tree().unwrap();
    scratch.publish(&second()).unwrap();
    scratch.converge(&[2]).unwrap();
    let even = scratch.tree().unwrap();

    let (mut random, mut killed, mut version) = (SEED, 0, 10);
    for round in 0..120 {
        version += 1;
        let mut document = if version % 2 == 0 { second() } else { first() };
        document["signed"]["version"] = version.into();
        scratch.publish(&document).unwrap();
        // xorshift: the same moments in each run of the test.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let moment = Duration::from_micros(random % 60_000);
        let kill = format!("{}", moment.as_secs_f64());
        let run = scratch
            .run(&["timeout", "--signal=KILL", &kill], &scratch.once())
            .unwrap();
        killed += usize::from(run.code.is_none() || run.code == Some(137));
        for (path, stands) in scratch.tree().unwrap() {
            let file = matches!(stands, Stands::File(..));
            let temporary = path.to_string_lossy().contains(".agentd-");
            let known = [odd.get(&path), even.get(&path)];
            assert!(
                !file || temporary || known.contains(&Some(&stands)),
                "round {round}, killed after {moment:?}: {} is {stands:?}",
                path.display()
            );
        }
    }
    assert!(killed > 20, "only {killed} of the runs were killed");
    scratch.converge(&[0, 2]).unwrap();
    same(
        &scratch.tree().unwrap(),
        if version % 2 == 0 { &even } else { &odd },
    )
    .unwrap();
    nothing_left(&scratch).unwrap();
    let mut last = retired();
    last["signed"]["version"] = (version + 1).into();
    scratch.publish(&last).unwrap();
    scratch.converge(&[2]).unwrap();
    same(&scratch.tree().unwrap(), &untouched).unwrap();
}
