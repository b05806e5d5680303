use serde_json::json;

use super::*;
use crate::fleet::{Pointer, User};
use crate::resource::fixtures::{platform, view};
use crate::resource::{Desired, Text};
use crate::system::root::Root;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICrIcGmMR0bE1+YqCEmACtjOPDKZxDBQPDFLcSAlzaTZ";

fn group(name: &str, gid: u32) -> GroupView {
    GroupView {
        name: name.parse().unwrap(),
        gid,
        origins: vec![Pointer(format!("/groups/{name}"))],
    }
}

fn user(name: &str, user: serde_json::Value) -> UserView {
    let user: User = serde_json::from_value(user).unwrap();
    let at = Pointer(format!("/users/{name}"));
    let keys = user.keys.iter().enumerate();
    let sudo = user.sudo.iter().enumerate();
    UserView {
        name: name.parse().unwrap(),
        keys: keys
            .map(|(index, key)| (key.clone(), at.then("keys").item(index)))
            .collect(),
        sudo: sudo
            .map(|(index, rule)| (rule.clone(), at.then("sudo").item(index)))
            .collect(),
        user,
        origins: vec![at],
    }
}

fn desired(groups: Vec<GroupView>, users: Vec<UserView>, facts: &AccountFacts) -> Desired {
    let view = View {
        groups,
        users,
        ..view()
    };
    Accounts.desired(&view, &platform(), facts)
}

fn step<'d>(desired: &'d Desired, name: &str) -> &'d Step {
    let mut steps = desired.steps.iter();
    steps
        .find(|step| step.name.0 == name)
        .unwrap_or_else(|| panic!("no step {name}"))
}

#[test]
fn groups_come_before_users_and_users_before_their_keys_and_sudo() {
    let all = desired(
        vec![group("shop", 1510)],
        vec![user(
            "deploy",
            json!({"uid": 1520, "group": "shop", "groups": ["wheel"], "shell": "/bin/bash", "keys": [KEY],
                   "sudo": ["ALL=(root) NOPASSWD: /usr/bin/systemctl reload httpd"]}),
        )],
        &AccountFacts::default(),
    );
    let names: Vec<_> = all.steps.iter().map(|step| step.name.0.as_str()).collect();
    assert_eq!(
        names,
        [
            "group/shop",
            "user/deploy",
            "keys/deploy",
            "sudo/deploy",
            "users"
        ]
    );
    assert_eq!(
        step(&all, "user/deploy").needs,
        [StepName("group/shop".into())]
    );
    assert_eq!(
        step(&all, "keys/deploy").needs,
        [StepName("user/deploy".into())]
    );
    assert_eq!(
        step(&all, "sudo/deploy").needs,
        [StepName("user/deploy".into())]
    );
    assert_eq!(all.problems, []);

    let Wish::User(wish) = &step(&all, "user/deploy").wants[0].wish else {
        panic!("no user");
    };
    assert_eq!(
        (wish.group.as_str(), wish.home.as_str(), wish.is_login),
        ("shop", "/home/deploy", true)
    );
    let keys = &step(&all, "keys/deploy").wants[0];
    assert_eq!(
        keys.thing,
        Thing::Path("/home/deploy/.ssh/authorized_keys".into())
    );
    assert_eq!(
        keys.wish,
        Wish::Private {
            text: Text::plain(format!(
                "# Written by node-agent: edit the fleet document instead.\n{KEY}\n"
            )),
            mode: 0o600,
            uid: 1520,
            gid: 1510,
        }
    );
    let of_key = keys.origins.iter().find(|origin| origin.line == Some(2));
    assert_eq!(of_key.unwrap().pointer.0, "/users/deploy/keys/0");
    let sudo = step(&all, "sudo/deploy");
    assert_eq!(
        sudo.wants[0].thing,
        Thing::Path("/etc/sudoers.d/agentd-deploy".into())
    );
    let Wish::File { text, mode: 0o440 } = &sudo.wants[0].wish else {
        panic!("no file");
    };
    assert!(
        text.exposed()
            .ends_with("\ndeploy ALL=(root) NOPASSWD: /usr/bin/systemctl reload httpd\n")
    );
    assert_eq!(
        sudo.file_checks[0].command.to_string(),
        "/usr/sbin/visudo -c -f {staged}"
    );
}

#[test]
fn a_user_of_whom_nothing_is_said_cannot_log_in() {
    let all = desired(
        vec![group("shop", 1510)],
        vec![user("shop", json!({"uid": 1510}))],
        &AccountFacts::default(),
    );
    let Wish::User(wish) = &step(&all, "user/shop").wants[0].wish else {
        panic!("no user");
    };
    assert_eq!(
        (wish.shell.as_str(), wish.is_login),
        ("/sbin/nologin", false)
    );
}

#[test]
fn who_is_removed_has_nothing_else_and_is_not_in_the_list() {
    let all = desired(
        Vec::new(),
        vec![
            user("gone", json!({"uid": 1520, "remove": true})),
            user("there", json!({"uid": 1521})),
        ],
        &AccountFacts::default(),
    );
    assert_eq!(
        step(&all, "user/gone").wants[0].wish,
        Wish::NoUser { uid: 1520 }
    );
    let list = step(&all, "users").list.as_ref().unwrap();
    assert_eq!(list.entries, ["there"]);
    assert!(Accounts::is_list(&step(&all, "users").name));
}

#[test]
fn what_the_machine_lacks_is_told_and_what_is_there_stays() {
    let facts = AccountFacts {
        shells: Some(["/bin/bash".to_owned()].into()),
        lacks_sudo: true,
        ..AccountFacts::default()
    };
    let all = desired(
        Vec::new(),
        vec![
            user(
                "a",
                json!({"uid": 1520, "shell": "/bin/zsh", "keys": [KEY]}),
            ),
            user(
                "b",
                json!({"uid": 1521, "shell": "/bin/bash", "sudo": ["ALL=ALL"]}),
            ),
        ],
        &facts,
    );
    assert_eq!(
        all.keep,
        ["user/a", "keys/a", "sudo/a", "sudo/b"].map(|name| StepName(name.into()))
    );
    let said: Vec<_> = all
        .problems
        .iter()
        .map(|problem| problem.message.as_str())
        .collect();
    insta::assert_snapshot!(said.join("\n"), @"
    a would log in with /bin/zsh, and this machine has no such program: the account, its keys and sudo stay as they are. Install it, or name another shell in the document
    b may do something by sudo, and this machine has no sudo (/usr/sbin/visudo is missing): install the package sudo, or take `sudo` out of the document
    ");
    assert!(all.steps.iter().any(|step| step.name.0 == "user/b"));
}

#[tokio::test]
async fn under_a_root_nothing_is_made_and_that_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let files = Files::new(Root::under(dir.path()).unwrap());
    let view = View {
        groups: vec![group("shop", 1510)],
        users: vec![user("deploy", json!({"uid": 1520}))],
        ..view()
    };
    let facts = Accounts.observe(&view, &platform(), &files).await.unwrap();
    let all = Accounts.desired(&view, &platform(), &facts);
    assert_eq!(all.steps, []);
    assert_eq!(all.problems[0].severity, Severity::Warning);
    insta::assert_snapshot!(all.problems[0].message, @"groups (shop) and users (deploy), their keys and sudo are left to the machine itself: they are made by commands, and under --root none is run");
}
