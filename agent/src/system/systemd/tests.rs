use super::*;
use crate::system::platform::Family;

fn names(units: &[&str]) -> Vec<String> {
    units.iter().map(|&unit| unit.to_owned()).collect()
}

const SAID: &str = "\
Id=apache2.service
LoadState=loaded
ActiveState=active
UnitFileState=enabled

Id=mariadb.service
LoadState=loaded
ActiveState=failed
UnitFileState=disabled

UnitFileState=
LoadState=not-found
ActiveState=inactive
Id=nowhere.service

Id=agentd-memcached@shop.service
LoadState=masked
ActiveState=reloading
UnitFileState=static
";

#[test]
fn states_go_to_the_names_asked_for_aliases_included() {
    let units = names(&[
        "apache2.service",
        "mysql.service",
        "nowhere.service",
        "agentd-memcached@shop.service",
    ]);
    let states = parse_show(SAID, &units).unwrap();
    let state = |loaded, active, enabled| UnitState {
        loaded,
        active,
        enabled,
        ..UnitState::default()
    };
    assert_eq!(states["apache2.service"], state(true, true, true));
    assert_eq!(states["mysql.service"], state(true, false, false));
    assert_eq!(states["nowhere.service"], state(false, false, false));
    assert_eq!(
        states["agentd-memcached@shop.service"],
        UnitState {
            masked: true,
            fixed: true,
            ..state(false, true, true)
        }
    );
}

#[test]
fn an_answer_of_another_length_is_no_answer() {
    assert_eq!(parse_show(SAID, &names(&["apache2.service"])), None);
    assert_eq!(parse_show("", &names(&["apache2.service"])), None);
}

#[test]
fn commands_wait_and_have_deadlines() {
    let centos = Platform::of(Family::Centos);
    let command = reload(&centos, "httpd.service");
    assert_eq!(
        command.to_string(),
        "/usr/bin/systemctl reload -- httpd.service"
    );
    assert_eq!(command.deadline_ms, 30_000);
    for command in [
        start(&centos, "a"),
        stop(&centos, "a"),
        restart(&centos, "a"),
        enable(&centos, "a"),
        disable(&centos, "a"),
    ] {
        assert!(command.deadline_ms >= 10_000);
        assert!(!command.argv.contains(&"--no-block".to_owned()));
    }
}

#[tokio::test]
async fn what_systemctl_says_against_it_is_passed_on() {
    let mut platform = Platform::of(Family::Debian);
    assert_eq!(
        unit_states(&platform, &[]).await.unwrap(),
        BTreeMap::default(),
        "nothing asked, nothing run"
    );
    platform.systemctl = "/bin/false".into();
    let error = unit_states(&platform, &names(&["cron.service"]))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "/bin/false show --property=Id,ActiveState,SubState,UnitFileState,LoadState -- cron.service \
         failed (exit code 1): nothing"
    );
}
