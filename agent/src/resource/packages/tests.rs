use super::*;
use crate::resource::fixtures;

fn view(packages: &[&str]) -> View {
    let packages = packages
        .iter()
        .enumerate()
        .map(|(index, json)| PackageView {
            package: serde_json::from_str(json).unwrap(),
            origins: vec![Pointer(format!("/signed/roles/web/packages/{index}"))],
        });
    View {
        packages: packages.collect(),
        ..fixtures::view()
    }
}

fn debian() -> Platform {
    Platform::of(Family::Debian)
}

/// The steps as text: a line a want.
fn show(desired: &Desired) -> String {
    let mut out = String::new();
    for step in &desired.steps {
        for want in &step.wants {
            match &want.wish {
                Wish::File { text, .. } => writeln!(out, "{}:\n{}", want.thing, text.exposed()),
                Wish::Block { text } => writeln!(out, "{}:\n{text}", want.thing),
                wish => writeln!(out, "{} {wish:?}", want.thing),
            }
            .unwrap();
        }
    }
    for unfit in &desired.unfit {
        writeln!(out, "{} cannot be: {}", unfit.member, unfit.message).unwrap();
    }
    out
}

fn installed(packages: &[(&str, &str)]) -> PackagesFacts {
    let states = packages.iter().map(|(name, version)| {
        let version = (*version).to_owned();
        ((*name).to_owned(), PackageState::Installed { version })
    });
    PackagesFacts {
        states: Some(states.collect()),
    }
}

#[test]
fn packages_have_their_names_here_and_pins_of_the_manager() {
    let view = view(&[
        r#""httpd""#,
        r#""mod_ssl""#,
        r#"{"name": "php-fpm", "version": "8.2"}"#,
        r#"{"name": "telnet-server", "absent": true}"#,
    ]);
    let on =
        |platform: &Platform| show(&Packages.desired(&view, platform, &PackagesFacts::default()));
    insta::assert_snapshot!(on(&fixtures::platform()), @r#"
    package:httpd Installed { version: None, downgrade: false }
    package:mod_ssl Installed { version: None, downgrade: false }
    package:php-fpm Installed { version: Some("8.2"), downgrade: false }
    package:telnet-server NotInstalled
    package:python3-dnf-plugin-versionlock Installed { version: None, downgrade: false }
    path:/etc/dnf/plugins/versionlock.list:
    php-fpm-8.2-*.*
    "#);
    insta::assert_snapshot!(on(&debian()), @r#"
    package:apache2 Installed { version: None, downgrade: false }
    package:php-fpm Installed { version: Some("8.2"), downgrade: false }
    package:telnet-server NotInstalled
    path:/etc/apt/preferences.d/agentd.pref:
    # Written by node-agent: packages that the fleet document keeps at a version. Edit the document instead.

    Package: php-fpm
    Pin: version /^([0-9]+:)?8[.]2(-[^-]*)?$/
    Pin-Priority: 999
    "#);
    let desired = Packages.desired(&view, &debian(), &PackagesFacts::default());
    let apache = &desired.steps[0].wants[0];
    assert_eq!(apache.origins.len(), 2, "both names ask for it");
}

#[test]
fn going_back_needs_a_word() {
    let facts = installed(&[("alpha", "2.0-1")]);
    let on = |json: &str| show(&Packages.desired(&view(&[json]), &debian(), &facts));
    insta::assert_snapshot!(on(r#"{"name": "alpha", "version": "1.0"}"#), @r#"
    path:/etc/apt/preferences.d/agentd.pref:
    # Written by node-agent: packages that the fleet document keeps at a version. Edit the document instead.

    Package: alpha
    Pin: version /^([0-9]+:)?1[.]0(-[^-]*)?$/
    Pin-Priority: 999

    alpha cannot be: alpha is there in version 2.0-1, which is newer than 1.0: going back is not done by itself, for data may not go back with it. Say "downgrade": true, or keep it at 2.0-1
    "#);
    let with_word = on(r#"{"name": "alpha", "version": "1.0", "downgrade": true}"#);
    assert!(!with_word.contains("cannot be"), "{with_word}");
    for fits in ["2.0", "2.0-1", "3.0"] {
        let shown = on(&format!(r#"{{"name": "alpha", "version": "{fits}"}}"#));
        assert!(!shown.contains("cannot be"), "{shown}");
    }
}

#[test]
fn a_master_s_database_server_stays_as_it_is() {
    let facts = installed(&[("mariadb-server", "10.11.6-1")]);
    let told = |json: &str, masters: &[&str]| {
        let mut view = view(&[json]);
        view.masters = masters.iter().map(|name| fixtures::name(name)).collect();
        let desired = Packages.desired(&view, &debian(), &facts);
        desired.unfit.into_iter().next().map(|unfit| unfit.message)
    };
    let newer = r#"{"name": "mariadb-server", "version": "10.11.7"}"#;
    let gone = r#"{"name": "mariadb-server", "absent": true}"#;
    insta::assert_snapshot!(told(newer, &["shop"]).unwrap(), @"mariadb-server stays as it is: this box is the master of shop's database, and a change would restart it. Switch over first (agentctl db switchover shop); then it is done by itself");
    assert!(told(gone, &["shop"]).is_some());
    assert_eq!(told(newer, &[]), None);
    assert_eq!(told(r#""mariadb-server""#, &["shop"]), None);
}

#[test]
fn two_names_of_one_package_must_agree_here() {
    let view = view(&[
        r#"{"name": "a", "debian": "x"}"#,
        r#"{"name": "b", "debian": "x", "absent": true}"#,
    ]);
    let desired = Packages.desired(&view, &debian(), &PackagesFacts::default());
    assert_eq!(desired.unfit.len(), 2);
    let desired = Packages.desired(&view, &fixtures::platform(), &PackagesFacts::default());
    assert!(desired.unfit.is_empty());
}

#[test]
fn a_part_of_a_package_takes_nothing_else_with_it() {
    let mut view = view(&[
        r#"{"name": "mod_ssl", "absent": true}"#,
        r#"{"name": "php-pdo", "absent": true}"#,
    ]);
    view.sites.clear();
    let on = |view: &View, platform: &Platform| {
        show(&Packages.desired(view, platform, &PackagesFacts::default()))
    };
    assert_eq!(on(&view, &debian()), "");
    assert_eq!(
        on(&view, &fixtures::platform()),
        "package:mod_ssl NotInstalled\npackage:php-pdo NotInstalled\n"
    );
    // Beside the whole there is no contradiction.
    view.packages.push(PackageView {
        package: serde_json::from_str(r#""httpd""#).unwrap(),
        origins: Vec::new(),
    });
    assert_eq!(
        on(&view, &debian()),
        "package:apache2 Installed { version: None, downgrade: false }\n"
    );
}

#[test]
fn what_the_document_needs_itself_is_not_removed() {
    let mut view = view(&[r#"{"name": "php-fpm", "absent": true}"#]);
    let shown = |view: &View| {
        show(&Packages.desired(view, &fixtures::platform(), &PackagesFacts::default()))
    };
    assert_eq!(shown(&view), "package:php-fpm NotInstalled\n");
    view.php = vec![crate::node::PhpView {
        product: fixtures::name("shop"),
        php: serde_json::from_str(r#"{"user": "shop", "children": 4}"#).unwrap(),
        origin: Pointer("/signed/products/shop/php".into()),
        left_out: false,
    }];
    assert_eq!(
        shown(&view),
        "php-fpm cannot be: php-fpm is not removed: the document has PHP pools for this box (1). Take them away, or let it stay\n"
    );
}
