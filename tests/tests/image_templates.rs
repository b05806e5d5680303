//! `packaging/image`: what other programs read there is what they can read: Packer's template by another reader of its
//! language, cloud-init's user data by a reader of YAML. Neither program itself is at hand.

#![cfg(test)]

use std::path::Path;
use std::time::Duration;

use node_agent_tests::machine::run;
use serde_json::Value;

const IMAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/image");

/// What a Python expression makes of a file, as JSON.
fn read_by_python(modules: &str, expression: &str, file: &str) -> Value {
    let python = concat!(env!("CARGO_MANIFEST_DIR"), "/../.cache/moto/bin/python");
    assert!(Path::new(python).exists(), "run tests/setup-moto.sh first");
    let script = format!(
        "import json, sys, {modules}\nwith open(sys.argv[1]) as file: print(json.dumps({expression}, default=str))"
    );
    let path = format!("{IMAGE}/{file}");
    let said = run(&[python, "-c", &script, &path], b"", Duration::from_mins(1)).unwrap();
    assert!(said.success(), "{said:?}");
    serde_json::from_str(&said.stdout).unwrap()
}

fn bake_help() -> String {
    let said = run(
        &[&format!("{IMAGE}/bake"), "--help"],
        b"",
        Duration::from_secs(10),
    )
    .unwrap();
    said.stdout
}

#[test]
fn packer_s_template_reads_and_calls_the_script_as_it_wants_to_be_called() {
    let template = read_by_python("hcl2", "hcl2.load(file)", "image.pkr.hcl");
    let variables: Vec<&str> = template["variable"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|variable| variable.as_object().unwrap().keys())
        .map(|name| name.trim_matches('"'))
        .collect();
    for needed in ["role", "server", "package", "config", "document"] {
        assert!(variables.contains(&needed), "{needed}: {variables:?}");
    }
    let source = &template["source"][0]["\"amazon-chroot\""]["\"image\""];
    let commands = source["post_mount_commands"].to_string();
    assert!(commands.contains("{{.MountPath}}"), "{commands}");
    let help = bake_help();
    let options: Vec<&str> = commands
        .split_whitespace()
        .filter_map(|word| word.get(word.find("--")?..))
        .collect();
    assert!(options.len() >= 7, "{options:?}");
    for option in options {
        assert!(help.contains(&format!("  {option} ")), "{option}: {help}");
    }
    // What is used of variables is declared.
    let text = std::fs::read_to_string(format!("{IMAGE}/image.pkr.hcl")).unwrap();
    for used in text.split("var.").skip(1) {
        let name: String = used
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        assert!(variables.contains(&name.as_str()), "var.{name}");
    }
}

#[test]
fn the_user_data_reads_and_says_only_what_cloud_init_knows() {
    let data = read_by_python("yaml", "yaml.safe_load(file)", "user-data.yaml");
    let known = [
        "package_update",
        "packages",
        "write_files",
        "preserve_hostname",
        "runcmd",
        "final_message",
    ];
    for key in data.as_object().unwrap().keys() {
        assert!(known.contains(&key.as_str()), "{key}");
    }
    let text = std::fs::read_to_string(format!("{IMAGE}/user-data.yaml")).unwrap();
    assert!(
        text.starts_with("#cloud-config\n"),
        "cloud-init would take it for something else"
    );
    for command in data["runcmd"].as_array().unwrap() {
        let words = command.as_array();
        assert!(
            command.is_string() || words.is_some_and(|words| words.iter().all(Value::is_string)),
            "{command}"
        );
    }
    // The configuration that it writes is one that the agent reads.
    let file = &data["write_files"][0];
    assert_eq!(file["path"], "/etc/agentd/agentd.toml");
    let dir = tempfile::tempdir().unwrap();
    let config = file["content"].as_str().unwrap();
    let config = config
        .replace("BUCKET/PREFIX", "bucket/prefix")
        .replace("FLEET", "prod");
    let path = dir.path().join("agentd.toml");
    #[expect(clippy::disallowed_methods, reason = "a scratch file")]
    std::fs::write(&path, config).unwrap();
    let agentd = node_agent_tests::machine::built("agentd").unwrap();
    let argv = [
        agentd.to_str().unwrap(),
        "--config",
        path.to_str().unwrap(),
        "--root",
        dir.path().to_str().unwrap(),
        "--fleet",
        "file:///nowhere",
        "--noop",
    ];
    let said = run(&argv, b"", Duration::from_secs(20)).unwrap();
    // No document there; but no word about the configuration.
    assert!(
        said.stderr.contains("no document could be had yet"),
        "{said:?}"
    );
}
