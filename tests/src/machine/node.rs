//! One machine of a fleet, from making its disk to pulling its plug.

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::cgroup::Cgroup;
use super::fleet::{Home, Reaped};
use super::limits;
use super::process::{self, Output, Trouble, wait_until};
use super::{AddedFile, Image, MachineSpec, agent_files};

/// How long a command in a machine may take, unless its caller says otherwise.
const COMMAND: Duration = Duration::from_secs(30);
/// How long a boot may take. It takes half a second; many at once on a busy host take longer.
const BOOT: Duration = Duration::from_mins(1);
/// How long a shutdown may take: longer than the deadline of the units under test.
const SHUTDOWN: Duration = Duration::from_secs(100);

/// A disk of its own for a directory: $1: the machine; $2: the directory; $3: megabytes.
const DATA: &str = r#"set -eu
directory=/run/machines/$1/root$2
disk=/run/machines/$1/data
truncate -s "$3M" "$disk.image"
mkfs.ext4 -q -m 0 "$disk.image"
mkdir -p "$directory" "$disk"
mount -o loop "$disk.image" "$disk"
cp -a "$directory/." "$disk"
rmdir "$disk/lost+found"
mount --move "$disk" "$directory"
"#;
/// For how long a disk may hang at most, whatever becomes of the test: a file system that hangs for good cannot be got
/// rid of but by a restart of the host.
const HANGS: &str = "60";

/// Writes standard input to a file. $1: path; $2: mode. Whole or not at all, as an administrator's editor would.
const WRITE: &str = r#"mkdir -p "$(dirname "$1")" && cat >"$1.adding" && chmod "$2" "$1.adding" && mv "$1.adding" "$1""#;

/// A booted machine. Its power is cut on drop.
#[derive(Debug)]
pub struct Machine {
    name: String,
    image: Image,
    address: String,
    port: String,
    power: Mutex<Option<Power>>,
    // After `power`: the group must still be there when its processes are waited for.
    group: Cgroup,
    home: Arc<Home>,
}

/// What a running machine is on the host.
#[derive(Debug)]
struct Power {
    nspawn: Reaped,
    /// PID of the machine's first process.
    init: u32,
}

impl Machine {
    pub(super) fn make(home: Arc<Home>, spec: MachineSpec) -> Result<Self, Trouble> {
        Home::check_address(&spec.address)?;
        let number = home.number();
        let machine = Self {
            group: home.group.child(&format!("machine-{}", spec.name))?,
            port: format!("port{number}"),
            name: spec.name,
            image: spec.image,
            address: spec.address,
            power: Mutex::new(None),
            home,
        };
        let script = include_str!("plug.sh");
        let number = number.to_string();
        let lower = spec.disk.as_ref().map_or_else(
            || format!("/run/images/{}", machine.image.directory()),
            |disk| disk.display().to_string(),
        );
        let identity = if spec.disk.is_none() { "given" } else { "own" };
        let arguments = [
            machine.name.as_str(),
            &lower,
            &machine.address,
            &number,
            identity,
        ];
        machine.home.inside(
            &[&["sh", "-c", script, "plug"], &arguments[..]].concat(),
            b"",
        )?;
        if let Some((path, megabytes)) = &spec.data {
            let argv = [
                "sh",
                "-c",
                DATA,
                "data",
                &machine.name,
                path,
                &megabytes.to_string(),
            ];
            machine.home.inside(&argv, b"")?;
        }
        for file in &spec.files {
            machine.add_offline(file)?;
        }
        if !spec.enable.is_empty() {
            let units: Vec<_> = spec.enable.iter().map(String::as_str).collect();
            machine.offline(
                &[&["systemctl", "--quiet", "enable"], &units[..]].concat(),
                b"",
            )?;
        }
        Ok(machine)
    }

    /// Its host name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What it booted from.
    pub fn image(&self) -> Image {
        self.image
    }

    pub(super) fn port(&self) -> &str {
        &self.port
    }

    /// Runs a command as root, to its end, at most 30 s.
    pub fn run(&self, argv: &[&str]) -> Result<Output, Trouble> {
        self.run_with(argv, b"", COMMAND)
    }

    /// Runs a command with input and a deadline of its own.
    pub fn run_with(
        &self,
        argv: &[&str],
        input: &[u8],
        deadline: Duration,
    ) -> Result<Output, Trouble> {
        let init = self.init()?.to_string();
        let enter = ["nsenter", "--target", &init, "--all", "--"];
        process::run(&[&enter, argv].concat(), input, deadline)
            .map_err(|e| Trouble::caused(&self.name, e))
    }

    /// Runs a command that must succeed: its standard output.
    pub fn must(&self, argv: &[&str]) -> Result<String, Trouble> {
        let output = self.run(argv)?;
        if output.success() {
            Ok(output.stdout)
        } else {
            Err(Trouble::caused(&self.name, process::failed(argv, &output)))
        }
    }

    /// A file's content.
    pub fn read(&self, path: &str) -> Result<String, Trouble> {
        self.must(&["cat", path])
    }

    /// Whether there is something at `path`, a dangling link included.
    pub fn exists(&self, path: &str) -> bool {
        let test = ["sh", "-c", r#"[ -e "$1" ] || [ -L "$1" ]"#, "sh", path];
        self.run(&test).is_ok_and(|output| output.success())
    }

    /// Writes a file, mode 0644, whole: directories in between are made.
    pub fn write(&self, path: &str, bytes: &[u8]) -> Result<(), Trouble> {
        self.add(path, bytes, 0o644)
    }

    fn add(&self, path: &str, bytes: &[u8], mode: u32) -> Result<(), Trouble> {
        let mode = format!("{mode:o}");
        let argv = ["sh", "-c", WRITE, "sh", path, &mode];
        let output = self.run_with(&argv, bytes, COMMAND)?;
        if output.success() {
            Ok(())
        } else {
            Err(Trouble::caused(
                &self.name,
                process::failed(&["write", path], &output),
            ))
        }
    }

    /// Puts the agent on the running machine as a package would, and starts it.
    pub fn install_agent(&self, config: &str) -> Result<(), Trouble> {
        for file in agent_files(config)? {
            self.add(&file.path, &file.bytes, file.mode)?;
        }
        self.must(&["systemctl", "daemon-reload"])?;
        self.must(&["systemctl", "--quiet", "enable", "--now", "agentd.service"])
            .map(drop)
    }

    /// What a unit has logged, over all boots, with microseconds.
    pub fn journal(&self, unit: &str) -> Result<String, Trouble> {
        self.must(&[
            "journalctl",
            "--no-pager",
            "--output=short-precise",
            "--unit",
            unit,
        ])
    }

    /// Whether systemd says that a unit is active.
    pub fn is_active(&self, unit: &str) -> bool {
        self.run(&["systemctl", "--quiet", "is-active", unit])
            .is_ok_and(|output| output.success())
    }

    /// A property of a unit, as `systemctl show` has it.
    pub fn property(&self, unit: &str, property: &str) -> Result<String, Trouble> {
        let value = self.must(&["systemctl", "show", "--value", "--property", property, unit])?;
        Ok(value.trim_end().to_owned())
    }

    /// Sends a signal to all processes of a unit.
    pub fn kill_unit(&self, unit: &str, signal: &str) -> Result<(), Trouble> {
        self.must(&["systemctl", "kill", "--signal", signal, unit])
            .map(drop)
    }

    /// Fetches a URL from within this machine: status code and body. Fails after 2 s without a connection, 5 s in all.
    pub fn get(&self, url: &str, host: Option<&str>) -> Result<(u16, String), Trouble> {
        let host = host.map(|host| format!("Host: {host}"));
        let mut argv = vec![
            "curl",
            "--silent",
            "--show-error",
            "--connect-timeout",
            "2",
            "--max-time",
            "5",
        ];
        argv.extend(host.iter().flat_map(|host| ["--header", host]));
        argv.extend(["--write-out", "\n%{http_code}", url]);
        let said = self.must(&argv)?;
        let (body, code) = said.rsplit_once('\n').unwrap_or_default();
        let code = code
            .parse()
            .map_err(|e| Trouble::caused(format!("curl {url}"), e))?;
        Ok((code, body.to_owned()))
    }

    /// Shuts down and boots again; the disk keeps what was written. The time until it runs again.
    pub fn reboot(&self) -> Result<Duration, Trouble> {
        let start = Instant::now();
        self.leave("reboot")?;
        self.power_on()?;
        Ok(start.elapsed())
    }

    /// Shuts down properly: units are stopped, the journal is closed.
    pub fn shut_down(&self) -> Result<(), Trouble> {
        self.leave("poweroff")
    }

    /// Cuts the power: every process is killed where it is. [`Machine::power_on`] boots from the same disk.
    pub fn power_off(&self) -> Result<(), Trouble> {
        self.group.kill()?;
        drop(self.lock().take());
        Ok(())
    }

    /// Stops the whole machine where it is: it keeps its connections and answers nothing. Time goes on.
    pub fn freeze(&self) -> Result<(), Trouble> {
        self.group.freeze(true)
    }

    /// Lets it run on.
    pub fn thaw(&self) -> Result<(), Trouble> {
        self.group.freeze(false)
    }

    /// Makes the disk of [`MachineSpec::data`] hang: whoever writes there waits, and cannot be killed. For a minute at most.
    pub fn hang_disk(&self, path: &str) -> Result<(), Trouble> {
        // Outside of the fleet's process namespace: it must outlive a test that is killed.
        let script = r#"fsfreeze --freeze "$1" && {
            setsid --fork sh -c 'sleep "$2"; fsfreeze --unfreeze "$1"' thaw "$1" "$2" >/dev/null 2>&1; }"#;
        self.disk(&["sh", "-c", script, "hang", &self.below(path), HANGS])
    }

    /// It works again. No error if it does already.
    pub fn thaw_disk(&self, path: &str) -> Result<(), Trouble> {
        let script = r#"fsfreeze --unfreeze "$1" 2>/dev/null || true"#;
        self.disk(&["sh", "-c", script, "thaw", &self.below(path)])
    }

    fn below(&self, path: &str) -> String {
        format!("/run/machines/{}/root{path}", self.name)
    }

    fn disk(&self, argv: &[&str]) -> Result<(), Trouble> {
        let target = self.home.keeper().to_string();
        let enter = ["nsenter", "--target", &target, "--mount", "--"];
        process::must(&[&enter, argv].concat(), b"", COMMAND).map(drop)
    }

    /// Whether it is on.
    pub fn is_on(&self) -> bool {
        self.lock().is_some()
    }

    /// Boots from its disk; returns when systemd has done all that it starts at boot.
    pub fn power_on(&self) -> Result<(), Trouble> {
        self.switch_on()?;
        self.wait_running()
    }

    /// Boots without waiting for more than a first process: for what happens during a boot.
    pub fn switch_on(&self) -> Result<(), Trouble> {
        if self.lock().is_some() {
            return Err(Trouble::new(format!("{} is on already", self.name)));
        }
        let disk = format!("/run/machines/{}", self.name);
        let (root, net) = (format!("{disk}/root"), format!("/run/netns/{}", self.name));
        let script = r#"exec systemd-nspawn --quiet --register=no --keep-unit --boot --console=pipe \
            --resolv-conf=off --timezone=off --link-journal=no --capability=CAP_NET_ADMIN \
            --machine="$1" --directory="$2" --network-namespace-path="$3" >>"$4" 2>&1"#;
        let console = format!("{disk}/console");
        let argv = [
            "sh", "-c", script, "nspawn", &self.name, &root, &net, &console,
        ];
        let namespaces = ["--mount", "--net", "--pid", "--ipc", "--uts", "--cgroup"];
        let nspawn = self
            .home
            .command(&self.group, &namespaces, &argv)
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(|e| Trouble::caused(format!("cannot boot {}", self.name), e))?;
        let mut nspawn = Reaped(nspawn);
        let mut init = None;
        wait_until("the first process", BOOT, || {
            init = self.group.machine_init();
            init.is_some() || matches!(nspawn.0.try_wait(), Ok(Some(_)))
        })
        .map_err(|e| self.with_console(e))?;
        let Some(init) = init else {
            return Err(self.with_console(format!("{} did not boot", self.name)));
        };
        *self.lock() = Some(Power { nspawn, init });
        Ok(())
    }

    /// Waits until systemd has done all that it starts at boot. A unit that failed is an error that shows its log.
    pub fn wait_running(&self) -> Result<(), Trouble> {
        let mut state = String::new();
        wait_until("the boot to end", BOOT, || {
            // Before its bus is there systemctl itself fails, and says nothing.
            state = self
                .run_with(&["systemctl", "is-system-running", "--wait"], b"", BOOT)
                .map_or_else(|e| e.to_string(), |output| output.stdout.trim().to_owned());
            state == "running" || state == "degraded"
        })
        .map_err(|e| self.with_console(format!("{}: {e}; last state: {state}", self.name)))?;
        if state == "running" {
            return Ok(());
        }
        let failed = [
            "systemctl",
            "list-units",
            "--failed",
            "--plain",
            "--no-legend",
        ];
        let failed = self.must(&failed)?;
        let logs: String = failed
            .split_whitespace()
            .filter(|word| word.contains('.'))
            .filter_map(|unit| self.journal(unit).ok())
            .collect();
        Err(Trouble::new(format!(
            "{} is degraded; failed: {failed}\n{logs}",
            self.name
        )))
    }

    /// Asks for the end of this boot and waits for it.
    fn leave(&self, verb: &str) -> Result<(), Trouble> {
        // The answer may be lost with the bus that it comes by.
        let _ = self.run(&["systemctl", "--no-block", verb])?;
        wait_until("the shutdown to end", SHUTDOWN, || {
            let mut power = self.lock();
            let running = power.as_mut().map(|power| power.nspawn.0.try_wait());
            !matches!(running, Some(Ok(None)))
        })
        .map_err(|e| self.with_console(format!("{}: {e}", self.name)))?;
        self.power_off()
    }

    fn init(&self) -> Result<u32, Trouble> {
        let init = self.lock().as_ref().map(|power| power.init);
        init.ok_or_else(|| Trouble::new(format!("{} is off", self.name)))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Power>> {
        self.power.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a command on the disk of a machine that is off.
    fn offline(&self, argv: &[&str], input: &[u8]) -> Result<String, Trouble> {
        let root = format!("/run/machines/{}/root", self.name);
        self.home
            .inside(&[&["chroot", &root], argv].concat(), input)
    }

    fn add_offline(&self, file: &AddedFile) -> Result<(), Trouble> {
        let mode = format!("{:o}", file.mode);
        self.offline(&["sh", "-c", WRITE, "sh", &file.path, &mode], &file.bytes)
            .map(drop)
    }

    fn with_console(&self, what: impl std::fmt::Display) -> Trouble {
        let path = format!("/run/machines/{}/console", self.name);
        let console = self
            .home
            .inside(&["tail", "--lines=30", &path], b"")
            .unwrap_or_default();
        let shortage = limits::explained()
            .map(|why| format!(" ({why})"))
            .unwrap_or_default();
        Trouble::new(format!("{what}{shortage}; its console:\n{console}"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // What cannot be killed here goes with the fleet.
        let _ = self.power_off();
    }
}
