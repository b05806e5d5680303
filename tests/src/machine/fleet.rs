//! A fleet: the namespaces that machines live in, their common network, and the servers of the test itself.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::cgroup::Cgroup;
use super::limits;
use super::process::{self, Output, Trouble, wait_until};
use super::{Machine, MachineSpec, TEST_ADDRESS, images};

static FLEETS: AtomicU32 = AtomicU32::new(1);

/// Joins the control group whose process list is the first argument, then becomes the rest of them.
const JOIN: &str = r#"echo 0 >"$1" && shift && exec "$@""#;

/// How long the fleet's own small commands (links, mounts, files) may take.
const SMALL: Duration = Duration::from_secs(20);

/// Machines and servers on one network, apart from everything else on this host.
#[derive(Debug)]
pub struct Fleet {
    home: Arc<Home>,
}

impl Fleet {
    /// A fleet without machines. Needs root and what `tests/setup` makes.
    pub fn new() -> Result<Self, Trouble> {
        Ok(Self {
            home: Arc::new(Home::open()?),
        })
    }

    /// Boots a machine; returns when its systemd says that it runs.
    pub fn boot(&self, spec: MachineSpec) -> Result<Machine, Trouble> {
        let machine = self.rack(spec)?;
        machine.power_on()?;
        Ok(machine)
    }

    /// Makes a machine's disk and plugs it in, without switching it on.
    pub fn rack(&self, spec: MachineSpec) -> Result<Machine, Trouble> {
        Machine::make(Arc::clone(&self.home), spec)
    }

    /// Boots several at once; they come back in the same order.
    pub fn boot_all(&self, specs: Vec<MachineSpec>) -> Result<Vec<Machine>, Trouble> {
        std::thread::scope(|scope| {
            let boots: Vec<_> = specs
                .into_iter()
                .map(|spec| scope.spawn(|| self.boot(spec)))
                .collect();
            boots
                .into_iter()
                .map(|boot| {
                    boot.join()
                        .unwrap_or_else(|_| Err(Trouble::new("a boot panicked")))
                })
                .collect()
        })
    }

    /// Pulls a machine's network cable; it sees no difference but silence.
    pub fn cut(&self, machine: &Machine) -> Result<(), Trouble> {
        self.home.link(&["set", machine.port(), "nomaster"])
    }

    /// Plugs it in again.
    pub fn heal(&self, machine: &Machine) -> Result<(), Trouble> {
        self.home.link(&["set", machine.port(), "master", "fleet"])
    }

    /// Starts a server of the test on the fleet's network, where it can listen on [`TEST_ADDRESS`].
    ///
    /// It sees the host's files. It is killed when the handle is dropped, or with the fleet.
    pub fn spawn_in_net(&self, argv: &[&str], env: &[(&str, &str)]) -> Result<NetChild, Trouble> {
        NetChild::spawn(Arc::clone(&self.home), argv, env)
    }

    /// Runs a command of the host on the fleet's network, to its end: as [`TEST_ADDRESS`] sees the machines.
    pub fn run(&self, argv: &[&str], deadline: Duration) -> Result<Output, Trouble> {
        self.run_with(argv, b"", deadline)
    }

    /// The same, with input.
    pub fn run_with(
        &self,
        argv: &[&str],
        input: &[u8],
        deadline: Duration,
    ) -> Result<Output, Trouble> {
        let target = self.home.keeper.to_string();
        let enter = ["nsenter", "--target", &target, "--net", "--"];
        process::run(&[&enter, argv].concat(), input, deadline)
    }
}

/// The fleet's namespaces and control group; held by the fleet, its machines and its servers.
#[derive(Debug)]
pub(super) struct Home {
    // Dropped in this order: the keeper and all below it are killed, then its parent can be waited for.
    pub(super) group: Cgroup,
    _pipe: ChildStdin,
    _parent: Reaped,
    /// The keeper's PID on the host.
    keeper: u32,
    count: AtomicU32,
}

impl Home {
    fn open() -> Result<Self, Trouble> {
        let images = images();
        if !images.join("debian").is_dir() {
            return Err(Trouble::new(format!(
                "no root file systems in {}: run tests/setup as root first",
                images.display()
            )));
        }
        limits::raise();
        let group = Cgroup::of_fleet(FLEETS.fetch_add(1, Ordering::Relaxed))?;
        let fail = |e: &dyn std::fmt::Display| {
            Trouble::caused("cannot open the fleet's namespaces (root is needed)", e)
        };
        // The cgroup namespace's root is where the keeper is: machines must lie below.
        let mut parent = Command::new("sh")
            .args(["-c", JOIN, "sh", &group.procs()])
            .args([
                "unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup",
            ])
            .args([
                "--fork",
                "--kill-child",
                "--mount-proc",
                "--propagation",
                "private",
            ])
            .args(["sh", "-c", include_str!("keeper.sh"), "keeper"])
            .arg(&images)
            .arg(TEST_ADDRESS)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(|e| fail(&e))?;
        let (pipe, said) = (parent.stdin.take(), parent.stdout.take());
        let parent = Reaped(parent);
        let (Some(pipe), Some(said)) = (pipe, said) else {
            return Err(fail(&"no pipes"));
        };
        let mut line = String::new();
        BufReader::new(said)
            .read_line(&mut line)
            .map_err(|e| fail(&e))?;
        if line != "ready\n" {
            return Err(fail(&"the keeper ended; it said why on standard error"));
        }
        let children = format!("/proc/{0}/task/{0}/children", parent.0.id());
        let keeper = std::fs::read_to_string(children).map_err(|e| fail(&e))?;
        let keeper = keeper.trim().parse().map_err(|e| fail(&e))?;
        Ok(Self {
            group,
            _pipe: pipe,
            _parent: parent,
            keeper,
            count: AtomicU32::new(1),
        })
    }

    /// The PID, on the host, of the first process of its namespaces.
    pub(super) fn keeper(&self) -> u32 {
        self.keeper
    }

    /// A number that no other machine or server of the fleet has.
    pub(super) fn number(&self) -> u32 {
        self.count.fetch_add(1, Ordering::Relaxed)
    }

    /// A command inside the fleet's namespaces that, unlike those of [`Home::inside`], goes on by itself.
    pub(super) fn command(&self, group: &Cgroup, namespaces: &[&str], argv: &[&str]) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", JOIN, "sh", &group.procs(), "nsenter"])
            .args(["--target", &self.keeper.to_string()])
            .args(namespaces)
            .arg("--")
            .args(argv)
            .stdin(Stdio::null());
        command
    }

    /// Runs a small command where the machines' disks are mounted, and their networks named.
    pub(super) fn inside(&self, argv: &[&str], input: &[u8]) -> Result<String, Trouble> {
        let target = self.keeper.to_string();
        let enter = [
            "nsenter", "--target", &target, "--mount", "--net", "--pid", "--uts", "--ipc", "--",
        ];
        process::must(&[&enter, argv].concat(), input, SMALL)
    }

    fn link(&self, arguments: &[&str]) -> Result<(), Trouble> {
        self.inside(&[&["ip", "link"], arguments].concat(), b"")
            .map(drop)
    }

    /// Whether an address is on the fleet's network and free to give to a machine.
    pub(super) fn check_address(address: &str) -> Result<(), Trouble> {
        let parsed = address
            .parse::<Ipv4Addr>()
            .ok()
            .map(|address| address.octets());
        match parsed {
            Some([10, 77, 0, 2..=254]) => Ok(()),
            _ => Err(Trouble::new(format!(
                "{address} is not a machine's address: want 10.77.0.2 to 10.77.0.254"
            ))),
        }
    }
}

/// A child that is killed and waited for on drop.
#[derive(Debug)]
pub(super) struct Reaped(pub(super) Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server of the test on the fleet's network.
#[derive(Debug)]
pub struct NetChild {
    // Its group first: killing the server itself lets its parent, the child that we wait for, end.
    group: Cgroup,
    parent: Reaped,
    said: tempfile::NamedTempFile,
    _home: Arc<Home>,
}

impl NetChild {
    fn spawn(home: Arc<Home>, argv: &[&str], env: &[(&str, &str)]) -> Result<Self, Trouble> {
        let what = || format!("cannot start {}", argv.join(" "));
        let said = tempfile::NamedTempFile::new().map_err(|e| Trouble::caused(what(), e))?;
        let log = || {
            said.as_file()
                .try_clone()
                .map_err(|e| Trouble::caused(what(), e))
        };
        let group = home.group.child(&format!("server-{}", home.number()))?;
        let parent = home
            .command(&group, &["--net", "--pid"], argv)
            .envs(env.iter().copied())
            .stdout(log()?)
            .stderr(log()?)
            .spawn()
            .map_err(|e| Trouble::caused(what(), e))?;
        Ok(Self {
            group,
            parent: Reaped(parent),
            said,
            _home: home,
        })
    }

    /// What it has said so far, on both outputs.
    pub fn said(&self) -> String {
        read_all(self.said.path())
    }

    /// Waits until it has said `words`.
    pub fn wait_for(&mut self, words: &str, deadline: Duration) -> Result<(), Trouble> {
        let path = self.said.path().to_owned();
        let mut ended = false;
        wait_until(words, deadline, || {
            ended = matches!(self.parent.0.try_wait(), Ok(Some(_)));
            ended || read_all(&path).contains(words)
        })
        .map_err(|e| Trouble::caused(e, self.said()))?;
        if self.said().contains(words) {
            Ok(())
        } else {
            Err(Trouble::caused(
                format!("ended before it said {words}"),
                self.said(),
            ))
        }
    }

    /// Kills it; returns when it is gone and its port is free.
    pub fn stop(&self) -> Result<(), Trouble> {
        self.group.kill()
    }

    /// Stops it where it is: connections stay open and get no answer.
    pub fn freeze(&self) -> Result<(), Trouble> {
        self.group.freeze(true)
    }

    /// Lets it run on.
    pub fn thaw(&self) -> Result<(), Trouble> {
        self.group.freeze(false)
    }
}

fn read_all(path: &Path) -> String {
    // `File` of the handle shares its position with the writer, hence the second opening.
    let bytes = File::open(path).and_then(|mut file| {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut file, &mut bytes).map(|_| bytes)
    });
    String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
}
