//! Doing what a plan says: each fault, and its undoing.

use std::time::{Duration, Instant};

use super::ask::{mend, swallow};
use super::fault::{Fault, Target};
use super::plan::Strike;
use super::stage::{CLOCK, CRASH, Stage};
use crate::database::DATA;
use crate::machine::{Machine, Trouble};

/// How long a person's order may take.
const ORDER: Duration = Duration::from_secs(40);
/// Between pulling a flapping cable and plugging it in.
const FLAP: Duration = Duration::from_millis(400);

/// A fault that has struck.
#[derive(Debug)]
pub(super) struct Struck<'stage> {
    number: usize,
    strike: Strike,
    target: &'stage Machine,
    other: &'stage Machine,
    /// The master when it struck.
    master: &'stage Machine,
    /// The first and the second candidate then.
    candidates: [&'stage Machine; 2],
}

impl Stage<'_> {
    /// Strikes. `number` is the strike's own in its history. What is said is for the timeline.
    pub(super) fn strike(
        &self,
        number: usize,
        strike: &Strike,
    ) -> Result<(Struck<'_>, String), Trouble> {
        let struck = Struck {
            number,
            strike: *strike,
            target: self.who(strike.target)?,
            other: self.who(strike.other)?,
            master: self.master()?,
            candidates: [self.who(Target::Candidate)?, self.who(Target::Second)?],
        };
        let said = self.carry_out(&struck)?;
        let whom = match strike.target {
            Target::All => "all",
            _ => struck.target.name(),
        };
        Ok((struck, format!("{} {whom} {said}", strike.fault)))
    }

    fn carry_out(&self, struck: &Struck<'_>) -> Result<String, Trouble> {
        let Struck { number, target, .. } = *struck;
        let strike = &struck.strike;
        let seconds = (strike.lasts.div_ceil(1000)).max(1).to_string();
        match strike.fault {
            Fault::KillMysqld => target.kill_unit("mariadb", "KILL")?,
            Fault::StopMysqld => target.kill_unit("mariadb", "STOP")?,
            Fault::KillAgent => target.kill_unit("agentd", "KILL")?,
            Fault::DownAgent => {
                // Stopped before systemd starts it again.
                let script = "systemctl kill --signal=KILL agentd; systemctl stop agentd";
                target.must(&["sh", "-c", script])?;
            }
            Fault::StopAgent => target.kill_unit("agentd", "STOP")?,
            Fault::StopBoth => {
                target.must(&["systemctl", "kill", "--signal=STOP", "agentd", "mariadb"])?;
            }
            Fault::RestartAgent => {
                target.must(&["systemctl", "restart", "--no-block", "agentd"])?;
            }
            Fault::RestartMysqld => {
                target.must(&["systemctl", "restart", "--no-block", "mariadb"])?;
            }
            Fault::ReplicaDown => {
                // Its socket too, or whoever asks starts it again.
                target.must(&[
                    "systemctl",
                    "stop",
                    "--no-block",
                    "mariadb.socket",
                    "mariadb",
                ])?;
            }
            Fault::LeftGate => {
                let table = "table inet agentd_0123456789ab { chain received { type filter hook input priority -310; \
                     tcp dport 3306 reject with tcp reset; }; }";
                target.must(&["nft", table])?;
                target.must(&["systemctl", "restart", "--no-block", "agentd"])?;
            }
            Fault::StepKill => return self.kill_at_step(struck),
            Fault::Freeze => target.freeze()?,
            Fault::Power => {
                // A disk that another fault has made to hang would keep its processes.
                target.thaw_disk(DATA)?;
                target.power_off()?;
            }
            Fault::CutAll => self.fleet.cut(target)?,
            Fault::CutBucket => swallow(number, target, Self::BUCKET)?,
            Fault::CutPair | Fault::CutWeb => {
                let other = if strike.fault == Fault::CutWeb {
                    struck.master
                } else {
                    struck.other
                };
                swallow(number, target, other.address())?;
                swallow(number, other, target.address())?;
                return Ok(format!("and {}", other.name()));
            }
            Fault::CutOneWay => {
                swallow(number, target, struck.other.address())?;
                return Ok(format!("hears nothing of {}", struck.other.name()));
            }
            Fault::Flap => {
                let end = Instant::now() + Duration::from_millis(strike.lasts);
                while Instant::now() < end {
                    self.fleet.cut(target)?;
                    std::thread::sleep(FLAP);
                    self.fleet.heal(target)?;
                    std::thread::sleep(FLAP);
                }
            }
            Fault::BucketRefused
            | Fault::BucketHangs
            | Fault::BucketErrors
            | Fault::BucketDenied
            | Fault::BucketSlow
            | Fault::BucketLosesReplies
            | Fault::BucketTwice => {
                let how = self.treatment(strike);
                let who = match strike.target {
                    Target::All => "*",
                    _ => target.address(),
                };
                self.treat(number, vec![(who.to_owned(), how.clone())])?;
                return Ok(how);
            }
            Fault::HungDisk => target.hang_disk(DATA)?,
            Fault::FullDisk => {
                let script = "fallocate --length $(df --output=avail --block-size=1 $1 | tail -1) $1/filler || dd if=/dev/zero of=$1/filler bs=64k 2>/dev/null; true";
                target.must(&["sh", "-c", script, "fill", DATA])?;
            }
            Fault::TooMany => {
                let address = target.address();
                let argv = ["/usr/local/bin/writer", "--hold", "200", "--host", address];
                self.client(number, &[&argv[..], &["--for", &seconds]].concat())?;
            }
            Fault::LockTables => {
                self.app(
                    struck,
                    &format!("LOCK TABLES shop.orders WRITE; SELECT SLEEP({seconds})"),
                )?;
            }
            Fault::LongTransaction => {
                let id = strike.variant;
                self.app(struck, &format!(
                    "BEGIN; INSERT INTO shop.others VALUES ({id}, 'long'); SELECT SLEEP({seconds}); COMMIT"
                ))?;
            }
            Fault::Lag => {
                let statement = format!("LOCK TABLES shop.orders READ; SELECT SLEEP({seconds})");
                let unit = format!("--unit=fault-{number}");
                target.must(&[
                    "systemd-run",
                    "--quiet",
                    "--collect",
                    &unit,
                    "mariadb",
                    "-e",
                    &statement,
                ])?;
            }
            Fault::ClockJump => {
                let hours = i64::try_from(strike.variant).unwrap_or(0) - 500;
                target.write(CLOCK, (hours * 3600).to_string().as_bytes())?;
                return Ok(format!("by {hours} h"));
            }
            Fault::StopSql => order(target, "STOP SLAVE SQL_THREAD")?,
            Fault::StopIo => order(target, "STOP SLAVE IO_THREAD")?,
            Fault::Errant => {
                let id = 1000 + strike.variant;
                order(
                    target,
                    &format!("INSERT INTO shop.others VALUES ({id}, 'errant')"),
                )?;
            }
            Fault::SnapshotsAhead => {
                for candidate in struck.candidates {
                    swallow(number, candidate, target.address())?;
                }
                std::thread::sleep(Duration::from_millis(self.times.ttl / 5));
                target.power_off()?;
            }
            Fault::Switchover => return hand_over(target, &[]),
            Fault::TwoSwitchovers => {
                let [first, second] = struck.candidates;
                return std::thread::scope(|scope| {
                    let one = scope.spawn(|| hand_over(target, &["--to", first.name()]));
                    let two = hand_over(first, &["--to", second.name()])?;
                    let one = one
                        .join()
                        .unwrap_or_else(|_| Err(Trouble::new("a switchover panicked")))?;
                    Ok(format!("{one}; {two}"))
                });
            }
        }
        Ok(String::new())
    }

    /// What is undone when its time is over. What is over by itself is left alone.
    pub(super) fn undo(&self, struck: &Struck<'_>) -> Result<(), Trouble> {
        let Struck { number, target, .. } = *struck;
        match struck.strike.fault {
            Fault::StopMysqld => target.kill_unit("mariadb", "CONT"),
            Fault::StopAgent => target.kill_unit("agentd", "CONT"),
            Fault::StopBoth => {
                let argv = ["systemctl", "kill", "--signal=CONT", "agentd", "mariadb"];
                target.must(&argv).map(drop)
            }
            Fault::DownAgent => target
                .must(&["systemctl", "start", "--no-block", "agentd"])
                .map(drop),
            Fault::Freeze => target.thaw(),
            Fault::Power => switch_on(target),
            Fault::StepKill => {
                let _ = target.run(&["rm", "-f", CRASH]);
                switch_on(struck.master)
            }
            Fault::SnapshotsAhead => {
                for candidate in struck.candidates {
                    mend(number, candidate)?;
                }
                switch_on(target)
            }
            Fault::CutAll | Fault::Flap => self.fleet.heal(target),
            Fault::CutBucket | Fault::CutOneWay => mend(number, target),
            Fault::CutPair => {
                mend(number, target)?;
                mend(number, struck.other)
            }
            Fault::CutWeb => {
                mend(number, target)?;
                mend(number, struck.master)
            }
            Fault::BucketRefused
            | Fault::BucketHangs
            | Fault::BucketErrors
            | Fault::BucketDenied
            | Fault::BucketSlow
            | Fault::BucketLosesReplies
            | Fault::BucketTwice => self.treat(number, Vec::new()),
            Fault::ReplicaDown => target
                .must(&[
                    "systemctl",
                    "start",
                    "--no-block",
                    "mariadb.socket",
                    "mariadb",
                ])
                .map(drop),
            Fault::ClockJump => target.must(&["rm", "-f", CLOCK]).map(drop),
            Fault::HungDisk => target.thaw_disk(DATA),
            Fault::FullDisk => target
                .must(&["rm", "-f", &format!("{DATA}/filler")])
                .map(drop),
            _ => Ok(()),
        }
    }

    /// How the bucket's proxy treats requests.
    fn treatment(&self, strike: &Strike) -> String {
        let writes = strike.variant.is_multiple_of(2);
        match strike.fault {
            Fault::BucketRefused => "refuse".into(),
            Fault::BucketHangs => "stall".into(),
            Fault::BucketErrors if writes => "status:500".into(),
            Fault::BucketErrors => "status:503".into(),
            Fault::BucketDenied => "status:403".into(),
            // Some just in time, some just too late.
            Fault::BucketSlow => {
                let least = self.times.timeout / 3;
                format!(
                    "delay:{}",
                    least + strike.variant % (self.times.timeout + 1)
                )
            }
            Fault::BucketLosesReplies => "puts:lost-reply".into(),
            Fault::BucketTwice => "puts:twice".into(),
            _ => "pass".into(),
        }
    }

    /// Arms the agent, and does something that leads it to many a step.
    fn kill_at_step(&self, struck: &Struck<'_>) -> Result<String, Trouble> {
        let step = struck.strike.step();
        struck.target.write(CRASH, step.as_bytes())?;
        let (how, done) = match struck.strike.variant / 10 % 4 {
            0 => ("kill-mysqld", struck.master.kill_unit("mariadb", "KILL")),
            1 => ("switchover", hand_over(struck.master, &[]).map(drop)),
            2 if struck.strike.target != Target::Master => ("power", struck.master.power_off()),
            _ => (
                "cut-bucket",
                swallow(struck.number, struck.master, Self::BUCKET).and_then(|()| {
                    for candidate in struck.candidates {
                        swallow(struck.number, struck.master, candidate.address())?;
                    }
                    std::thread::sleep(Duration::from_millis(self.times.ttl * 3 / 2));
                    mend(struck.number, struck.master)
                }),
            ),
        };
        done.map(|()| format!("at {step}, by {how} of {}", struck.master.name()))
    }

    /// Runs a client on web-1, in a unit that ends with the history.
    fn client(&self, number: usize, argv: &[&str]) -> Result<(), Trouble> {
        let unit = format!("--unit=fault-{number}");
        let run = ["systemd-run", "--quiet", "--collect", &unit];
        self.world.web.must(&[&run[..], argv].concat()).map(drop)
    }

    fn app(&self, struck: &Struck<'_>, statements: &str) -> Result<(), Trouble> {
        let address = struck.target.address();
        let account = ["--host", address, "--user=app", "--password=app"];
        let argv = [&["mariadb"], &account[..], &["-e", statements]].concat();
        self.client(struck.number, &argv)
    }
}

fn switch_on(machine: &Machine) -> Result<(), Trouble> {
    if machine.is_on() {
        Ok(())
    } else {
        machine.switch_on()
    }
}

fn order(machine: &Machine, statement: &str) -> Result<(), Trouble> {
    machine.must(&["mariadb", "-e", statement]).map(drop)
}

/// A person's order; whether it succeeds is no matter.
fn hand_over(machine: &Machine, to: &[&str]) -> Result<String, Trouble> {
    let argv = [&["agentctl", "db", "switchover", "shop"], to].concat();
    let said = machine.run_with(&argv, b"", ORDER)?;
    let words = format!("{}{}", said.stdout, said.stderr);
    let last = words.trim().lines().last().unwrap_or_default().to_owned();
    Ok(format!("{} (exit {:?})", last, said.code))
}
