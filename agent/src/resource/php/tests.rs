use super::*;
use crate::fleet::Pointer;
use crate::resource::fixtures;

fn pool(product: &str, json: serde_json::Value) -> PhpView {
    PhpView {
        product: fixtures::name(product),
        php: serde_json::from_value(json).unwrap(),
        origin: Pointer(format!("/signed/products/{product}/php")),
        left_out: false,
    }
}

fn facts() -> PhpFacts {
    PhpFacts {
        installed: true,
        web_server: "apache".into(),
        numbers: Some(Numbers {
            users: [("shop".into(), 1510), ("toor".into(), 0)].into(),
            groups: [("shop".into(), 1510)].into(),
        }),
        ..PhpFacts::default()
    }
}

fn desired(pools: Vec<PhpView>, facts: &PhpFacts) -> Desired {
    let view = View {
        php: pools,
        ..fixtures::view()
    };
    PhpPools.desired(&view, &fixtures::platform(), facts)
}

fn text(desired: &Desired) -> String {
    let file = desired.steps[0]
        .wants
        .iter()
        .find_map(|want| match &want.wish {
            Wish::File { text, .. } => Some(String::from_utf8(text.bytes().to_vec()).unwrap()),
            _ => None,
        });
    file.unwrap()
}

#[test]
fn a_pool_says_all_that_the_document_says() {
    let said = serde_json::json!({
        "user": "shop", "group": "shop", "children": 8, "manager": "dynamic", "requests": 500, "timeout": "2m",
        "ini": {"memory_limit": "128M", "expose_php": "off"}, "fixed_ini": {"open_basedir": "/srv/shop:/tmp"},
        "environment": {"APP_ENV": "production"}
    });
    let desired = desired(vec![pool("shop", said)], &facts());
    insta::assert_snapshot!(text(&desired));
    let step = &desired.steps[0];
    assert_eq!(step.activate[0].unit, "php-fpm.service");
    assert_eq!(
        step.file_checks[0]
            .for_staged(Path::new("/etc/php-fpm.d/.x"))
            .argv,
        ["/usr/sbin/php-fpm", "-t", "-y", "/etc/php-fpm.d/.x"]
    );
}

#[test]
fn every_line_knows_who_asked_for_it() {
    let said = serde_json::json!({"user": "shop", "children": 8, "ini": {"memory_limit": "128M"}});
    let desired = desired(vec![pool("shop", said)], &facts());
    let text = text(&desired);
    let file = desired.steps[0]
        .wants
        .iter()
        .find(|want| !matches!(want.wish, Wish::Directory { .. }));
    let by_line = file.unwrap().origins.iter().filter_map(|origin| {
        let line = usize::try_from(origin.line?).unwrap();
        let line = text.lines().nth(line - 1).unwrap();
        Some(format!("{line}  <- {}", origin.pointer))
    });
    insta::assert_snapshot!(by_line.collect::<Vec<_>>().join("\n"), @r#"
    user = shop  <- /signed/products/shop/php/user
    pm = ondemand  <- /signed/products/shop/php/manager
    pm.max_children = 8  <- /signed/products/shop/php/children
    pm.process_idle_timeout = 30s  <- /signed/products/shop/php/idle
    php_value[memory_limit] = "128M"  <- /signed/products/shop/php/ini/memory_limit
    "#);
}

#[test]
fn a_changed_pool_gives_another_answer() {
    let answer = |children: u16| {
        let said = serde_json::json!({"user": "shop", "children": children});
        let desired = desired(vec![pool("shop", said)], &facts());
        match &desired.steps[0].probes[0].question {
            Question::FastCgi { body, .. } => body.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(answer(4), answer(4));
    assert_ne!(answer(4), answer(5));
    assert!(answer(4).starts_with("agentd-shop "));
}

#[test]
fn sessions_are_kept_where_only_the_pool_reads_them_unless_the_document_says_where() {
    let places = |ini: serde_json::Value| {
        let said = serde_json::json!({"user": "shop", "children": 4, "ini": ini});
        let desired = desired(vec![pool("shop", said)], &facts());
        let directories = desired.steps[0]
            .wants
            .iter()
            .filter_map(|want| match &want.wish {
                Wish::Directory { attributes } => Some((want.thing.to_string(), *attributes)),
                _ => None,
            });
        (
            directories.collect::<Vec<_>>(),
            text(&desired).contains("session.save_path"),
        )
    };
    let (own, said) = places(serde_json::json!({}));
    assert!(said);
    assert_eq!(own[0].0, "path:/var/lib/php/agentd/shop");
    assert_eq!((own[0].1.mode, own[0].1.uid), (0o700, 1510));
    assert_eq!(
        places(serde_json::json!({"session.save_handler": "memcached"})),
        (vec![], false)
    );
    assert_eq!(
        places(serde_json::json!({"session.save_path": "/srv/shop/tmp"})),
        (vec![], true)
    );
}

#[test]
fn what_the_machine_has_not_leaves_one_pool_out_with_the_reason() {
    let with = |user: &str, group: Option<&str>| {
        let mut said = serde_json::json!({"user": user, "children": 4});
        if let Some(group) = group {
            said["group"] = group.into();
        }
        let good = pool("blog", serde_json::json!({"user": "shop", "children": 4}));
        let desired = desired(vec![good, pool("shop", said)], &facts());
        let unfit = desired
            .unfit
            .iter()
            .map(|unfit| format!("{}: {}", unfit.member.0, unfit.message));
        unfit.collect::<Vec<_>>().join("\n")
    };
    assert_eq!(with("shop", Some("shop")), "");
    insta::assert_snapshot!(
        [with("nobodyhere", None), with("toor", None), with("shop", Some("web"))].join("\n"),
        @"
    shop: the pool of shop stays as it is: this machine has no user nobodyhere. Have the document make it (`users`), or name another `user`
    shop: the pool of shop stays as it is: toor is root by another name here, and PHP never runs as root
    shop: the pool of shop stays as it is: this machine has no group web. Have the document make it (`groups`), or name another `group`
    "
    );
}

#[test]
fn without_php_fpm_nothing_is_removed_and_the_report_says_what_to_do() {
    let said = serde_json::json!({"user": "shop", "children": 4});
    let desired = desired(vec![pool("shop", said)], &PhpFacts::default());
    assert!(
        desired.problems[0]
            .message
            .contains("add \"php-fpm\" to `packages`")
    );
    assert_eq!(desired.keep, [StepName("php".into())]);
    assert!(
        desired
            .claims
            .contains(&Thing::Path("/etc/php-fpm.d/agentd-shop.conf".into()))
    );
}

#[test]
fn a_pool_that_sites_still_use_is_not_taken_away() {
    let facts = PhpFacts {
        in_use: ["shop".to_owned()].into(),
        ..facts()
    };
    let desired = desired(vec![], &facts);
    assert!(
        desired
            .claims
            .contains(&Thing::Path("/etc/php-fpm.d/agentd-shop.conf".into()))
    );
}

#[test]
fn the_machine_s_own_word_on_reloads_counts() {
    assert!(says_patience("[global]\n process_control_timeout = 30s\n"));
    assert!(!says_patience(
        "[global]\n;process_control_timeout = 0\nprocess_control_timeouts = 1\n"
    ));
}
