//! The same 31 files kept by what Debian has packages of. What is not installed is left out, and that is said.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use node_agent_tests::documents;
use node_agent_tests::scratch::{Scratch, Stands};

use crate::measure::{Costs, once};
use crate::table::table;
use crate::usual::{HEAD, row};
use crate::{Result, note, repository};

/// Where the files' texts lie by number, for tools that copy.
const SOURCES: &str = "sources";

type Files = BTreeMap<PathBuf, String>;

/// A tool: its program, how often it is run, and the command line that makes it keep `files` with its policy in a directory.
struct Tool {
    name: &'static str,
    program: &'static str,
    package: &'static str,
    runs: u32,
    prepare: fn(&Files, &Path) -> (String, String, Vec<String>),
}

const TOOLS: [Tool; 3] = [
    Tool {
        name: "CFEngine, `cf-agent -K`",
        program: "/usr/bin/cf-agent",
        package: "cfengine3",
        runs: 30,
        prepare: cfengine,
    },
    Tool {
        name: "Puppet, `puppet apply`",
        program: "/usr/bin/puppet",
        package: "puppet",
        runs: 10,
        prepare: puppet,
    },
    Tool {
        name: "Ansible, `ansible-playbook -c local`",
        program: "/usr/bin/ansible-playbook",
        package: "ansible-core",
        runs: 3,
        prepare: ansible,
    },
];

pub fn report() -> Result<String> {
    let agentd = repository().join("target/release/agentd");
    let scratch = Scratch::with_agent("web-1", &agentd)?;
    scratch.publish(&documents::usual(1))?;
    scratch.converge(&[2])?;
    let files: Files = scratch
        .tree()?
        .into_iter()
        .filter_map(|(path, stands)| match stands {
            Stands::File(_, bytes) if documents::is_managed(&path) => {
                Some((path, String::from_utf8(bytes).ok()?))
            }
            _ => None,
        })
        .collect();

    let mut rows = Vec::new();
    let mut left_out = String::new();
    for tool in TOOLS {
        if !Path::new(tool.program).exists() {
            write!(
                left_out,
                "\nNot measured: {} (the package {} is not installed).\n",
                tool.name, tool.package
            )?;
            continue;
        }
        note(&format!("others: {}", tool.name));
        let home = tempfile::Builder::new().prefix("bench-").tempdir()?;
        let wanted: Files = files
            .iter()
            .map(|(path, text)| (home.path().join("root").join(path), text.clone()))
            .collect();
        for dir in wanted.keys().filter_map(|path| path.parent()) {
            std::fs::create_dir_all(dir)?;
        }
        let sources = home.path().join(SOURCES);
        std::fs::create_dir_all(&sources)?;
        for (n, text) in wanted.values().enumerate() {
            keep(&sources.join(n.to_string()), text)?;
        }
        let (name, policy, line) = (tool.prepare)(&wanted, home.path());
        keep(&home.path().join(name), &policy)?;
        once(&line, 0)?;
        for (path, text) in &wanted {
            if std::fs::read_to_string(path).ok().as_ref() != Some(text) {
                return Err(format!("{} did not make {}", tool.name, path.display()).into());
            }
        }
        let mut costs = Costs::default();
        for _ in 0..tool.runs {
            costs.add(once(&line, 0)?);
        }
        rows.push(row(tool.name, &costs));
    }
    left_out.push_str("\nNot measured: confd (Debian has no package of it).\n");
    let title = format!(
        "The same {} files, nothing to do, kept by others",
        files.len()
    );
    Ok(format!("{}{left_out}", table(&title, &HEAD, &rows)))
}

#[expect(clippy::disallowed_methods, reason = "a policy in a scratch directory")]
fn keep(path: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text)?;
    // cf-agent takes no policy that others may write to.
    Ok(std::fs::set_permissions(
        path,
        std::fs::Permissions::from_mode(0o600),
    )?)
}

fn words(line: &[&str]) -> Vec<String> {
    line.iter().map(|&word| word.to_owned()).collect()
}

fn cfengine(files: &Files, home: &Path) -> (String, String, Vec<String>) {
    let mut policy = String::from("bundle agent main\n{\n  files:\n");
    for (path, text) in files {
        let text = text
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace("$(", "$(const.dollar)(");
        let _ = writeln!(
            policy,
            "    \"{}\" create => \"true\", content => \"{text}\";",
            path.display()
        );
    }
    policy.push_str("}\n");
    // It wants the checker of policies in its own directory; without it, it says so by its exit code.
    let bin = home.join("bin");
    let _ = std::fs::create_dir_all(&bin);
    let _ = std::os::unix::fs::symlink("/usr/bin/cf-promises", bin.join("cf-promises"));
    let home = home.display();
    let line = [
        "/usr/bin/env",
        &format!("CFENGINE_TEST_OVERRIDE_WORKDIR={home}"),
        "/usr/bin/cf-agent",
        "-K",
        "-f",
        &format!("{home}/main.cf"),
    ]
    .map(str::to_owned);
    ("main.cf".into(), policy, line.to_vec())
}

fn puppet(files: &Files, home: &Path) -> (String, String, Vec<String>) {
    let mut policy = String::new();
    for (path, text) in files {
        let text = text.replace('\\', "\\\\").replace('\'', "\\'");
        let _ = writeln!(
            policy,
            "file {{ '{}': ensure => file, content => '{text}' }}",
            path.display()
        );
    }
    let home = home.display().to_string();
    let line = words(&[
        "/usr/bin/puppet",
        "apply",
        "--confdir",
        &format!("{home}/conf"),
        "--vardir",
        &format!("{home}/var"),
        &format!("{home}/site.pp"),
    ]);
    ("site.pp".into(), policy, line)
}

fn ansible(files: &Files, home: &Path) -> (String, String, Vec<String>) {
    // From files, not from the play: text that looks like JSON would be read and written anew.
    let copies: Vec<_> = files
        .keys()
        .enumerate()
        .map(|(n, path)| serde_json::json!({"from": home.join(SOURCES).join(n.to_string()), "to": path}))
        .collect();
    let play = serde_json::json!([{"hosts": "all", "gather_facts": false, "tasks": [{
        "copy": {"src": "{{ item.from }}", "dest": "{{ item.to }}"},
        "loop": copies,
    }]}]);
    let play = play.to_string();
    let home = home.display();
    let line = words(&[
        "/usr/bin/env",
        &format!("HOME={home}"),
        "/usr/bin/ansible-playbook",
        "-i",
        "localhost,",
        "-c",
        "local",
        &format!("{home}/play.yml"),
    ]);
    ("play.yml".into(), play, line)
}
