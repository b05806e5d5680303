//! Promise: cron takes every file the agent writes, and hands the shell what the person typed.
//!
//! Debian's own cron runs, in a mount and process namespace of its own, over files that the resource
//! rendered. Their shell is a script that keeps what it was given. Needs root and the package `cron`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use node_agent::fleet::{CronJob, Name, Pointer, Server, ServerState};
use node_agent::node::{CronView, Owner, View};
use node_agent::resource::{Cron, CronFacts, Resource, Wish};
use node_agent::system::platform::{Family, Platform};
use tokio::process::Command;

/// Legal commands that a careless writer of crontabs would spoil.
const HOSTILE: [&str; 22] = [
    "true",
    "echo digest --date=$(date +%F | wc -c)",
    "printf '%s\\n' one two",
    "printf '50%%\\n'",
    r"printf '%%\%\n' 2>&1 | head -c 20",
    r"echo '\%' a\%b \\% \\\% '\\\%' end",
    r#"echo "\%" "it's" '\%"'"#,
    r"echo back\slash 'back\\slash' \\\\ x\ y \$HOME",
    r#"echo "double 'single' \"escaped\" `echo back`" "#,
    "echo 'a # is no comment'",
    "#nothing but a comment",
    "echo semi;echo colon & wait",
    "x=1 && echo $x ${x:-%} ${x%1}",
    "echo a > /dev/null < /dev/null || echo b",
    "= echo no assignment 2>/dev/null; echo after",
    "A=B echo looks like a crontab assignment",
    "-n echo looks like an option 2>/dev/null; echo after",
    "echo tilde ~ caret ^ star \\* brace {a,b} bang !",
    "echo '  two  spaces  kept  '",
    "echo ends with a backslash \\\\",
    "echo ends with a percent %",
    "% 2>/dev/null; echo begins with a percent",
];

/// Every kind of thing that the document's schedules may say.
const SCHEDULES: [&str; 27] = [
    "@reboot",
    "H H(0-5) * * *",
    "H/15 * H * H",
    "@hourly",
    "@daily",
    "@midnight",
    "@weekly",
    "@monthly",
    "@yearly",
    "@annually",
    "* * * * *",
    "*/5 * * * *",
    "0 0 1 1 0",
    "59 23 31 12 7",
    "0-59 0-23 1-31 1-12 0-7",
    "0-59/7 * * * *",
    "1,2,3,40-50,51-59/2 * * * *",
    "*/59 */23 */31 */12 */7",
    "30 6 * * 1-5",
    "30 6 * * mon-fri",
    "30 6 * jan,dec sun",
    "30 6 * JAN SUN",
    "0 0 * feb-nov *",
    "5 4 * * sun,wed",
    "17 */2 1,15 * *",
    "0 0 29 2 *",
    "00 01 02 03 04",
];

fn name(text: &str) -> Name {
    serde_json::from_value(text.into()).unwrap_or_else(|error| unreachable!("{text}: {error}"))
}

/// The files that a box with these jobs gets, by file name.
fn rendered(jobs: &[(String, CronJob)]) -> BTreeMap<String, String> {
    let view = View {
        name: name("web-1"),
        server: Server {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            public: Vec::new(),
            zone: None,
            roles: Vec::new(),
            products: Vec::new(),
            instance: None,
            state: ServerState::Active,
        },
        groups: Vec::new(),
        users: Vec::new(),
        hosts: Vec::new(),
        withheld: Vec::new(),
        caches: BTreeMap::new(),
        sites: Vec::new(),
        packages: Vec::new(),
        services: Vec::new(),
        releases: Vec::new(),
        smoke: Vec::new(),
        masters: Vec::new(),
        php: Vec::new(),
        cron: jobs
            .iter()
            .map(|(job, what)| CronView {
                owner: Owner::Product(name("shop")),
                name: name(job),
                job: what.clone(),
                origin: Pointer(format!("/signed/products/shop/cron/{job}")),
            })
            .collect(),
        files: Vec::new(),
    };
    let desired = Cron.desired(&view, &Platform::of(Family::Debian), &CronFacts::default());
    assert!(desired.problems.is_empty(), "{:?}", desired.problems);
    desired
        .steps
        .into_iter()
        .flat_map(|step| step.wants)
        .filter_map(|want| match want.wish {
            Wish::File { text, .. } => {
                let name = want.thing.path()?.file_name()?.to_str()?;
                Some((name.to_owned(), text.exposed().to_owned()))
            }
            _ => None,
        })
        .collect()
}

fn job(schedule: &str, command: &str) -> CronJob {
    serde_json::from_value(
        serde_json::json!({"schedule": schedule, "user": "root", "command": command}),
    )
    .unwrap_or_else(|error| unreachable!("{schedule} {command}: {error}"))
}

async fn sh(command: &str) -> std::io::Result<String> {
    let ended = Command::new("/bin/sh")
        .args(["-c", command])
        .current_dir("/")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(10), ended).await??;
    Ok(format!(
        "{}|{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}

/// What stands in the files of `dir` whose names end so.
async fn contents(dir: &Path, suffix: &str) -> std::io::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut entries = tokio::fs::read_dir(dir).await?;
    while let Some(entry) = entries.next_entry().await? {
        if entry.file_name().to_string_lossy().ends_with(suffix) {
            found.push(tokio::fs::read_to_string(entry.path()).await?);
        }
    }
    found.sort();
    Ok(found)
}

#[tokio::test]
async fn cron_runs_each_command_as_it_was_typed() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    for made in ["cron.d", "tabs", "run", "got"] {
        tokio::fs::create_dir(dir.join(made)).await.unwrap();
    }
    tokio::fs::write(dir.join("empty"), "").await.unwrap();
    // In place of the shell: keeps what it was told to run. Renamed when complete.
    let keeper = dir.join("keeper");
    let script = format!(
        "#!/bin/sh\nf=$(mktemp {0}/XXXXXXXX) && printf '%s' \"$2\" > \"$f\" && mv \"$f\" \"$f.command\"\n",
        dir.join("got").display()
    );
    tokio::fs::write(&keeper, script).await.unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    tokio::fs::set_permissions(&keeper, executable)
        .await
        .unwrap();

    let mut jobs: Vec<(String, CronJob)> = HOSTILE
        .iter()
        .enumerate()
        .map(|(at, command)| (format!("job-{at}"), job("* * * * *", command.trim())))
        .collect();
    // And each once more as a word of a longer line.
    for (at, command) in HOSTILE.iter().enumerate() {
        let mut bounded = job("* * * * *", command.trim());
        bounded.timeout = "30s".parse().ok();
        jobs.push((format!("bounded-{at}"), bounded));
    }
    let shell = format!("SHELL={}", keeper.display());
    for (file, text) in rendered(&jobs) {
        assert!(text.contains("SHELL=/bin/sh\n"), "{text}");
        let text = text.replace("SHELL=/bin/sh", &shell);
        tokio::fs::write(dir.join("cron.d").join(file), text)
            .await
            .unwrap();
    }
    // What a careless writer would do, to see that cron is as unkind as the resource takes it to be.
    let careless = format!("{shell}\n* * * * * root echo careless '\\\\%' end\n");
    tokio::fs::write(dir.join("cron.d/careless"), careless)
        .await
        .unwrap();

    let mounts = format!(
        "set -e; cd {}; mount --bind cron.d /etc/cron.d; mount --bind tabs /var/spool/cron/crontabs; \
         mount --bind empty /etc/crontab; mount --bind run /run; exec /usr/sbin/cron -f",
        dir.display()
    );
    let mut cron = Command::new("/usr/bin/unshare")
        .args([
            "--mount",
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
            "/bin/sh",
            "-c",
            &mounts,
        ])
        .kill_on_drop(true)
        .spawn()
        .expect("unshare, of util-linux");

    // cron wakes at the full minute.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(80);
    let got = loop {
        let got = contents(&dir.join("got"), ".command").await.unwrap();
        if got.len() > 2 * HOSTILE.len() || tokio::time::Instant::now() > deadline {
            break got;
        }
        let ended = cron.try_wait().unwrap();
        assert!(
            ended.is_none(),
            "cron ended ({ended:?}): this test needs root and the package cron (apt-get install cron)"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    cron.kill().await.unwrap();

    assert!(
        got.iter().any(|command| command == r"echo careless '\"),
        "cron reads backslashes in another way than the resource thinks: {got:#?}"
    );
    let (bounded, mut rest): (Vec<String>, Vec<String>) = got
        .into_iter()
        .filter(|command| !command.starts_with("echo careless"))
        .partition(|command| command.starts_with("exec /usr/bin/timeout -k 10 30 /bin/sh -c '"));
    let mut did = Vec::new();
    for command in &bounded {
        did.push(sh(command).await.unwrap());
    }
    for typed in HOSTILE.map(str::trim) {
        let wished = sh(typed).await.unwrap();
        let at = did.iter().position(|what| *what == wished);
        did.remove(at.unwrap_or_else(|| panic!("{typed:?} did not run; left: {did:#?}")));
    }
    assert_eq!(did, [""; 0]);
    let (mut verbatim, mut evaluated) = (0, 0);
    for typed in HOSTILE.map(str::trim) {
        if let Some(at) = rest.iter().position(|command| command == typed) {
            rest.remove(at);
            verbatim += 1;
        } else {
            // Written in another way: then it must do the same.
            let wished = sh(typed).await.unwrap();
            let mut same = None;
            for (at, command) in rest.iter().enumerate() {
                if command.starts_with("eval ") && sh(command).await.unwrap() == wished {
                    same = Some(at);
                }
            }
            let at = same.unwrap_or_else(|| panic!("{typed:?} did not run; left: {rest:#?}"));
            rest.remove(at);
            evaluated += 1;
        }
    }
    assert_eq!(rest, [""; 0], "cron ran what nobody asked for");
    assert_eq!((verbatim, evaluated), (17, 5));
}

#[tokio::test]
async fn cron_reads_every_schedule() {
    let jobs: Vec<(String, CronJob)> = SCHEDULES
        .iter()
        .enumerate()
        .map(|(at, schedule)| (format!("job-{at}"), job(schedule, "true")))
        .collect();
    let files = rendered(&jobs);
    assert_eq!(files.len(), SCHEDULES.len());
    let scratch = tempfile::tempdir().unwrap();
    let table = scratch.path().join("table");
    let check = |text: String| {
        let table = table.clone();
        async move {
            tokio::fs::write(&table, text).await.unwrap();
            let output = Command::new("/usr/bin/crontab")
                .arg("-n")
                .arg(&table)
                .output();
            let output = tokio::time::timeout(Duration::from_secs(10), output)
                .await
                .unwrap()
                .expect("the package cron (apt-get install cron)");
            (
                output.status.success(),
                String::from_utf8_lossy(&output.stderr).into_owned(),
            )
        }
    };
    for text in files.values() {
        // A user's own table has no column for the account; all else is the same.
        let (ok, said) = check(text.replace(" root true", " true")).await;
        assert!(ok, "{said}\n{text}");
    }
    let (ok, _) = check("61 * * * * true\n".into()).await;
    assert!(!ok, "crontab -n accepts anything: this test shows nothing");
}

#[tokio::test]
async fn a_schedule_in_another_zone_goes_by_the_clock_there() {
    for (schedule, zone, begins, moments) in [
        (
            "30 6 * * 1-5",
            "Europe/Berlin",
            "0,15,30,45",
            [
                ("2026-11-27 05:30", true),
                ("2026-11-27 06:30", false),
                ("2026-11-27 05:45", false),
                ("2026-07-03 04:30", true),
                ("2026-07-03 05:30", false),
                ("2026-11-28 05:30", false),
            ],
        ),
        (
            "0 4 1-7 * sun",
            "Asia/Kathmandu",
            "0,15,30,45",
            [
                ("2026-11-28 22:15", true),
                ("2026-11-30 22:15", true),
                ("2026-12-08 22:15", false),
                ("2026-11-28 22:00", false),
                ("2026-11-29 22:15", false),
                ("2026-12-05 22:15", true),
            ],
        ),
        (
            "0 0 */2 * sun",
            "UTC",
            "0,15,30,45",
            [
                ("2026-11-29 00:00", true),
                ("2026-11-22 00:00", false),
                ("2026-11-27 00:00", false),
                ("2026-11-29 00:15", false),
                ("2026-11-29 01:00", false),
                ("2026-11-15 00:00", true),
            ],
        ),
        (
            "*/7 * * 12 *",
            "America/St_Johns",
            "0,4,5,6,7,11,12,13,14,15,19,20,21,22,26,27,28,29,30,34,35,36,37,41,42,43,44,45,49,50,51,52,56,57,58,59",
            [
                ("2026-12-01 03:30", true),
                ("2026-12-01 03:29", false),
                ("2026-12-01 03:37", true),
                ("2026-12-01 03:38", false),
                ("2027-01-01 03:26", true),
                ("2027-01-01 03:30", false),
            ],
        ),
    ] {
        let mut there = job(schedule, "echo due");
        there.timezone = zone.parse().ok();
        let files = rendered(&[("there".into(), there)]);
        let line = files.values().next().and_then(|text| text.lines().last());
        let (minutes, line) = line
            .and_then(|line| line.split_once(" * * * * root "))
            .unwrap();
        assert_eq!(minutes, begins);
        for (moment, due) in moments {
            let clock = format!("/bin/date -d '{moment} UTC'");
            let asked = line.replace("\\%", "%").replace("/bin/date", &clock);
            let said = sh(&asked).await.unwrap();
            let wished = if due { "due\n|" } else { "|" };
            assert_eq!(said, wished, "{schedule} {zone} {moment}: {asked}");
        }
    }
}
