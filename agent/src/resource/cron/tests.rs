use std::collections::BTreeSet;

use insta::assert_snapshot;
use proptest::prelude::*;

use super::super::fixtures::{job, name, platform, view};
use super::*;
use crate::report::Severity;

fn desired(cron: Vec<CronView>, users: Option<&[&str]>) -> Desired {
    let facts = CronFacts {
        users: users.map(|users| {
            users
                .iter()
                .map(|user| (*user).to_owned())
                .collect::<BTreeSet<_>>()
        }),
        ..CronFacts::default()
    };
    Cron.desired(&View { cron, ..view() }, &platform(), &facts)
}

fn text(job: CronView) -> String {
    let desired = desired(vec![job], None);
    let Wish::File { text, mode: 0o600 } = &desired.steps[0].wants[0].wish else {
        panic!("not a file that cron takes");
    };
    text.exposed().to_owned()
}

#[test]
fn a_job_of_a_product() {
    let job = job(
        "digest",
        "30 6 * * 1-5",
        "root",
        "/srv/shop/current/bin/digest --date=$(date +%F)",
    );
    assert_snapshot!(text(job), @r"
    # Written by node-agent: job digest of product shop; edit the fleet document instead.
    # /signed/products/shop/cron/digest
    SHELL=/bin/sh
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    30 6 * * 1-5 root /srv/shop/current/bin/digest --date=$(date +\%F)
    ");
}

/// A job with `more` in it.
fn with(json: &str) -> CronView {
    let mut view = job("tick", "@daily", "root", "true");
    view.job = serde_json::from_str(json).unwrap();
    view
}

#[test]
fn a_job_with_all_its_fields() {
    let job = with(
        r#"{"schedule": "30 6 * * 1-5", "user": "Deploy.User", "command": "printf '%s\\%' \"$A\"", "shell": "/bin/bash",
            "mailto": "ops@example.com", "timezone": "Europe/Berlin", "lock": true, "timeout": "4m",
            "environment": {"A": "it's 100%", "B": "say \"x\"", "EMPTY": "", "PATH": "/opt/bin"}}"#,
    );
    let desired = desired(vec![job.clone()], None);
    assert_eq!(desired.problems, []);
    let lock = &desired.steps[0].wants[1];
    assert_eq!(
        lock.thing.as_path().to_str(),
        Some("/etc/agentd/cron/shop_tick.lock")
    );
    assert_snapshot!(text(job), @r##"
    # Written by node-agent: job tick of product shop; edit the fleet document instead.
    # /signed/products/shop/cron/tick
    # 30 6 * * 1-5 by the time of Europe/Berlin
    SHELL=/bin/sh
    MAILTO="ops@example.com"
    A="it's 100%"
    B='say "x"'
    EMPTY=""
    PATH="/opt/bin"
    0,15,30,45 * * * * Deploy.User set -- $(TZ=Europe/Berlin /bin/date '+\%-M \%-H \%-d \%-m \%w'); case ,30, in *,$1,*);; *)exit 0;; esac; case ,6, in *,$2,*);; *)exit 0;; esac; case ,1,2,3,4,5, in *,$5,*);; *)exit 0;; esac; exec /usr/bin/flock -n -o /etc/agentd/cron/shop_tick.lock /usr/bin/timeout -k 10 240 /bin/bash -c 'printf '"'"'\%s\''\%'"'"' "$A"'
    "##);
}

#[test]
fn a_job_that_is_recorded_is_looked_after_by_agentctl() {
    let job = with(
        r#"{"schedule": "H * * * *", "user": "shop", "command": "bin/tick --at=$(date +%F)", "record": true, "lock": true,
            "timeout": "4m", "nice": 10, "mailto": "ops@example.com", "timezone": "Europe/Berlin"}"#,
    );
    let desired = desired(vec![job.clone()], None);
    assert_eq!(desired.problems, []);
    let [table, description] = desired.steps[0].wants.as_slice() else {
        panic!("a table, its description, and no lock file: the record is the lock");
    };
    assert_eq!(
        table.thing.as_path().to_str(),
        Some("/etc/cron.d/agentd-shop_tick")
    );
    assert_eq!(
        description.thing.as_path().to_str(),
        Some("/etc/agentd/cron/shop_tick.job")
    );
    let Wish::File {
        text: said,
        mode: 0o600,
    } = &description.wish
    else {
        panic!("not a file that all may read");
    };
    assert_snapshot!(said.exposed(), @r#"
    {
      "format": 1,
      "job": "shop_tick",
      "user": "shop",
      "schedule": "17 * * * *",
      "timezone": "Europe/Berlin",
      "timeout_secs": 240
    }
    "#);
    let line = text(job).lines().last().unwrap().to_owned();
    let (_, line) = line.split_once("esac; exec ").unwrap();
    assert_eq!(
        line,
        r"/usr/bin/agentctl job shop_tick --timeout 240s --print -- /usr/bin/nice -n 10 /bin/sh -c 'bin/tick --at=$(date +\%F)'"
    );
    let plain = with(r#"{"schedule": "@daily", "user": "shop", "command": "true", "nice": 19}"#);
    assert!(text(plain).ends_with("exec /usr/bin/nice -n 19 /bin/sh -c 'true'\n"));
}

#[test]
fn a_job_is_not_written_where_nothing_is_there_to_record_it() {
    let facts = CronFacts {
        no_agentctl: true,
        ..CronFacts::default()
    };
    let cron = vec![with(
        r#"{"schedule": "@daily", "user": "root", "command": "true", "record": true}"#,
    )];
    let desired = Cron.desired(&View { cron, ..view() }, &platform(), &facts);
    assert_eq!(desired.steps, []);
    assert!(desired.problems[0].message.contains("/usr/bin/agentctl"));
}

#[test]
fn another_shell_and_nothing_else() {
    let job = with(
        r#"{"schedule": "@reboot", "user": "root", "command": "date +%F &>> /x", "shell": "/bin/bash", "mailto": ""}"#,
    );
    assert_snapshot!(text(job), @r##"
    # Written by node-agent: job tick of product shop; edit the fleet document instead.
    # /signed/products/shop/cron/tick
    SHELL=/bin/bash
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    MAILTO=""
    @reboot root date +\%F &>> /x
    "##);
}

#[test]
fn what_the_machine_lacks_holds_the_job() {
    let job = with(
        r#"{"schedule": "@daily", "user": "root", "command": "true &> x", "shell": "/bin/zsh", "timezone": "Europe/Berlin", "lock": true}"#,
    );
    let known = |shells: &[&str], zones: &[&str]| {
        let set = |all: &[&str]| Some(all.iter().map(|one| (*one).to_owned()).collect());
        let facts = CronFacts {
            users: None,
            shells: set(shells),
            zones: set(zones),
            sh_is_no_bash: true,
            no_agentctl: false,
        };
        let cron = vec![job.clone()];
        Cron.desired(&View { cron, ..view() }, &platform(), &facts)
    };
    let there = known(&["/bin/zsh"], &["Europe/Berlin"]);
    assert_eq!((there.steps.len(), there.problems), (1, vec![]));
    for (desired, field) in [
        (known(&[], &["Europe/Berlin"]), "shell"),
        (known(&["/bin/zsh"], &[]), "timezone"),
    ] {
        assert_eq!(desired.steps, []);
        assert_eq!(desired.claims.len(), 2, "its lock stays too");
        let origin = desired.problems[0].origin.as_ref().unwrap();
        assert_eq!(origin.0, format!("/signed/products/shop/cron/tick/{field}"));
    }
}

#[test]
fn what_only_bash_understands_is_told_where_sh_is_another_shell() {
    let told = |json: &str, sh_is_no_bash| {
        let facts = CronFacts {
            sh_is_no_bash,
            ..CronFacts::default()
        };
        let cron = vec![with(json)];
        let desired = Cron.desired(&View { cron, ..view() }, &platform(), &facts);
        assert_eq!(desired.steps.len(), 1, "it is a warning");
        desired
            .problems
            .into_iter()
            .map(|problem| problem.message)
            .collect::<Vec<_>>()
            .join("\n")
    };
    let plain =
        r#"{"schedule": "@daily", "user": "root", "command": "backup &>> /var/log/backup"}"#;
    let bash = r#"{"schedule": "@daily", "user": "root", "command": "backup &>> /var/log/backup", "shell": "/bin/bash"}"#;
    assert_snapshot!(told(plain, true), @r##"the command of the cron job shop_tick has `&>>`, which is bash's, and /bin/sh is another shell here: it does something else. Write `>>FILE 2>&1`, or say "shell": "/bin/bash""##);
    assert_eq!(told(plain, false), "");
    assert_eq!(told(bash, true), "");
}

#[test]
fn a_job_of_a_role() {
    let mut job = job("sweep", "@hourly", "apache", "rm -f /tmp/x");
    job.owner = Owner::Role(name("web"));
    job.origin = Pointer("/signed/roles/web/cron/sweep".into());
    assert_snapshot!(text(job), @r"
    # Written by node-agent: job sweep of role web; edit the fleet document instead.
    # /signed/roles/web/cron/sweep
    SHELL=/bin/sh
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    @hourly apache rm -f /tmp/x
    ");
}

#[test]
fn no_two_jobs_share_a_file_and_debian_takes_every_name() {
    let mut of_role = job("tick", "@daily", "root", "true");
    of_role.owner = Owner::Role(name("web"));
    let mut of_product_role = job("tick", "@daily", "root", "true");
    of_product_role.owner = Owner::Product(name("role"));
    let jobs = vec![
        job("tick", "@daily", "root", "true"),
        of_role,
        of_product_role,
        job("a-b", "@daily", "root", "true"),
    ];
    let desired = desired(jobs, None);
    let paths: BTreeSet<String> = desired
        .steps
        .iter()
        .map(|step| step.wants[0].thing.as_path().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(paths.len(), 4);
    for path in &paths {
        let file = path.strip_prefix("/etc/cron.d/").unwrap();
        assert!(
            file.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'),
            "{file}"
        );
    }
}

#[test]
fn a_job_for_nobody_is_held_and_the_others_come() {
    let jobs = vec![
        job("a", "@daily", "nobody-here", "true"),
        job("b", "@daily", "root", "true"),
    ];
    let desired = desired(jobs, Some(&["root"]));
    assert_eq!(desired.steps.len(), 1);
    assert_eq!(desired.keep, [StepName("cron/shop_a".into())]);
    let problem = &desired.problems[0];
    assert_eq!(problem.severity, Severity::Failure);
    assert_eq!(
        problem.origin.as_ref().unwrap().0,
        "/signed/products/shop/cron/a/user"
    );
    assert_snapshot!(problem.message, @"the cron job shop_a runs as nobody-here, and this machine has no such account: the job's file stays as it is. Create the account, or name another in the document");
}

#[test]
fn a_command_that_escaping_makes_too_long_is_held() {
    let desired = desired(vec![job("a", "@daily", "root", &"%".repeat(600))], None);
    assert_eq!(desired.steps, []);
    assert_eq!(desired.keep, [StepName("cron/shop_a".into())]);
    assert_snapshot!(desired.problems[0].message, @"the command of the cron job shop_a is longer than 990 bytes once it is written as cron needs it: the job's file stays as it is. Put the command into a script and call that");
}

#[test]
fn percent_signs() {
    let escape = line::escape;
    assert_eq!(escape("date +%F"), r"date +\%F");
    assert_eq!(escape(r"printf '\n'"), r"printf '\n'");
    assert_eq!(
        escape(r"printf '50\%'"),
        r#"eval 'printf '"'"'50\''\%'"'"''"#
    );
    assert_eq!(escape(r"echo \\"), r"eval 'echo \''\'");
}

/// What cron hands to the shell, as the real ones do; `None`: it would cut the command.
fn cron_reads(written: &str, halves: bool) -> Option<String> {
    let mut read = String::new();
    let mut bytes = written.chars();
    while let Some(byte) = bytes.next() {
        match byte {
            '%' => return None,
            '\\' => match bytes.next() {
                Some('%') => read.push('%'),
                Some('\\') if halves => read.push('\\'),
                Some(other) => read.extend(['\\', other]),
                None => read.push('\\'),
            },
            other => read.push(other),
        }
    }
    Some(read)
}

/// What the shell makes of `eval` and one word of single- and double-quoted pieces.
fn eval_runs(command: &str) -> Option<String> {
    let mut rest = command.strip_prefix("eval ")?;
    let mut word = String::new();
    while let Some(quote) = rest.chars().next() {
        assert!(quote == '\'' || quote == '"', "{rest}");
        let (inside, after) = rest.split_at(1).1.split_once(quote).unwrap();
        assert!(quote == '\'' || !inside.contains(['\\', '$', '`', '"']));
        word.push_str(inside);
        rest = after;
    }
    Some(word)
}

proptest! {
    #[test]
    fn the_shell_gets_what_was_typed(command in r#"[!-~]([%\\'"a ]{0,40}[!-~])?"#) {
        let written = line::escape(&command);
        for halves in [false, true] {
            let read = cron_reads(&written, halves).unwrap();
            if read == command {
                continue;
            }
            prop_assert_eq!(eval_runs(&read), Some(command.clone()));
        }
    }
}

#[tokio::test]
async fn accounts_are_asked_for_on_the_machine_only() {
    use crate::system::root::Root;
    let view = View {
        cron: vec![
            job("a", "@daily", "root", "true"),
            job("b", "@daily", "nobody-here", "true"),
        ],
        ..view()
    };
    let dir = tempfile::tempdir().unwrap();
    for (root, users) in [
        (Root::machine(), Some(BTreeSet::from(["root".to_owned()]))),
        (Root::under(dir.path()).unwrap(), None),
    ] {
        let facts = Cron
            .observe(&view, &platform(), &Files::new(root))
            .await
            .unwrap();
        assert_eq!(facts.users, users);
    }
}
