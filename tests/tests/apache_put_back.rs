//! Changes of sites that do not work, made by the real agent with a real Apache: what was there before goes on serving.

use std::time::{Duration, Instant};

use node_agent_tests::machine::{Fleet, Image, wait_until};
use node_agent_tests::web::{Run, WebBox};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(20);
/// The row of the site that a test adds, where the others come true without it.
const NEXT: &str = "sites/shop/next";

#[cfg(test)]
fn web(fleet: &Fleet, image: Image) -> WebBox {
    let web = WebBox::boot(fleet, image, |spec| {
        spec.file("/srv/www/index.html", "the shop")
            .file("/srv/next/index.html", "the next shop")
            .file(
                "/etc/agentd/templates/wrong.conf.j2",
                "<VirtualHost *:{{ port }}>\n    ServerName {{ server_name }}\n    NoSuchDirective on\n{{ probe }}\n</VirtualHost>\n",
            )
            .file(
                "/etc/agentd/templates/gone.conf.j2",
                "<VirtualHost *:{{ port }}>\n    ServerName {{ server_name }}\n    RedirectMatch 410 \"^/\"\n{{ probe }}\n</VirtualHost>\n",
            )
    })
    .unwrap();
    web.publish(&sites(json!({}))).unwrap();
    let run = web.once().unwrap();
    println!("{image:?}: first run {:?}", run.took);
    assert_eq!(run.code, 2, "{}", run.said);
    assert!(serves(&web));
    web
}

/// The shop, and what a test adds.
#[cfg(test)]
fn sites(more: Value) -> Value {
    let mut sites = json!({"www": {"domains": ["shop.example.com"], "root": "/srv/www"}});
    if let (Value::Object(sites), Value::Object(more)) = (&mut sites, more) {
        sites.extend(more);
    }
    sites
}

#[cfg(test)]
fn next(more: Value) -> Value {
    let mut next = json!({"domains": ["next.example.com"], "root": "/srv/next"});
    if let (Value::Object(next), Value::Object(more)) = (&mut next, more) {
        next.extend(more);
    }
    sites(json!({"next": next}))
}

/// The shop answers, out of the generation that is to be served.
#[cfg(test)]
fn serves(web: &WebBox) -> bool {
    web.ask(80, "shop.example.com", "/") == Some((200, "the shop".to_owned()))
        && web.proves(80, "shop.example.com", "www").unwrap_or(false)
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_default()
}

/// Publishes what Apache's configuration test refuses: nothing is switched, and it is not tried again.
#[cfg(test)]
#[track_caller]
fn refused(web: &WebBox, sites: &Value, said: &str) {
    let (generation, reloads) = (web.generation().unwrap(), web.reloads().unwrap());
    web.publish(sites).unwrap();
    let run = web.once().unwrap();
    println!("{:?}: refused after {:?}", web.machine.image(), run.took);
    assert_eq!(run.code, 4, "{}", run.said);
    // Nothing is left to do without that site: its own row tells all.
    let row = web.row(NEXT).unwrap();
    assert_eq!(row["outcome"], "quarantined", "{row}");
    assert!(text(&row, "error").contains(said), "{row}");
    assert!(run.said.contains(said), "{}", run.said);
    let kept = || {
        assert_eq!(web.generation().unwrap(), generation);
        assert_eq!(web.generations().unwrap(), [generation.as_str()]);
        assert_eq!(web.reloads().unwrap(), reloads);
        assert!(serves(web));
        assert!(web.apache_test(&["-D", "AGENTD_STAGED"]).unwrap().success());
    };
    kept();
    // Again, for the same document: neither tested nor tried.
    let again = web.once().unwrap();
    assert_eq!(again.code, 4, "{}", again.said);
    assert!(again.said.contains("QUARANTINED"), "{}", again.said);
    let row = web.row(NEXT).unwrap();
    assert_eq!(row["outcome"], "quarantined", "{row}");
    assert!(text(&row, "error").contains(said), "{row}");
    kept();
}

#[test]
fn what_apache_refuses_is_never_switched_to_and_not_tried_again() {
    for image in Image::ALL {
        let fleet = Fleet::new().unwrap();
        let web = web(&fleet, image);
        refused(
            &web,
            &next(json!({"template": "wrong"})),
            "Invalid command 'NoSuchDirective'",
        );
        if image == Image::Debian {
            // Debian enables mod_headers only when asked to.
            refused(
                &web,
                &next(json!({"headers": {"X-Odd": "1"}})),
                "Invalid command 'Header'",
            );
        }
        // With its cause mended on the box, a person has the same version tried.
        if image == Image::Debian {
            let machine = &web.machine;
            machine.must(&["a2enmod", "--quiet", "headers"]).unwrap();
            machine
                .must(&["systemctl", "restart", "apache2.service"])
                .unwrap();
            let again = machine.run(&["agentctl", "apply", "--retry"]).unwrap();
            assert_eq!(again.code, Some(2), "{again:?}");
            let odd = web.headers("next.example.com", "/").unwrap();
            assert!(odd.contains(&("X-Odd".into(), "1".into())), "{odd:?}");
        }
        // Another version of the document is tried.
        let run = published(&web, &next(json!({})));
        assert_eq!(run.code, 2, "{}", run.said);
        assert!(serves(&web) && web.proves(80, "next.example.com", "next").unwrap());
    }
}

#[cfg(test)]
fn published(web: &WebBox, sites: &Value) -> Run {
    web.publish(sites).unwrap();
    web.once().unwrap()
}

#[test]
fn innocent_sites_come_true_without_the_one_that_does_not_work() {
    for image in Image::ALL {
        let fleet = Fleet::new().unwrap();
        let web = web(&fleet, image);
        for (how, said) in [
            ("wrong", "NoSuchDirective"),
            ("gone", "410 Gone"),
            ("absent", "no such template"),
        ] {
            // Another one is new with each version, and comes true with it.
            let name = format!("{how}.example.com");
            let with = |next: Value| {
                let other = json!({"domains": [name], "root": "/srv/next"});
                let mut all = sites(json!({"other": other}));
                if next != Value::Null {
                    all["next"] = next;
                }
                all
            };
            let works = json!({"domains": ["next.example.com"], "root": "/srv/next"});
            let mut broken = works.clone();
            broken["template"] = how.into();

            let run = published(&web, &with(broken.clone()));
            assert_eq!(run.code, 6, "{how}: {}", run.said);
            assert!(
                run.said.contains(said) && run.said.contains("shop/next"),
                "{}",
                run.said
            );
            assert!(serves(&web) && web.proves(80, &name, "other").unwrap());
            let row = web.row(NEXT).unwrap();
            assert!(text(&row, "error").contains(said), "{row}");
            // It stays so, and nothing is tried again.
            let reloads = web.reloads().unwrap();
            let again = web.once().unwrap();
            assert_eq!(
                (again.code, web.reloads().unwrap()),
                (4, reloads),
                "{}",
                again.said
            );
            // What worked before stays as it was, when only the new version of it does not.
            let run = published(&web, &with(works));
            assert_eq!(run.code, 2, "{how}: {}", run.said);
            let run = published(&web, &with(broken));
            assert_eq!(run.code & 4, 4, "{how}: {}", run.said);
            assert!(web.proves(80, "next.example.com", "next").unwrap(), "{how}");
            let run = published(&web, &with(Value::Null));
            assert_eq!(run.code, 2, "{how}: {}", run.said);
        }
    }
}

#[test]
fn what_does_not_answer_is_put_back() {
    for image in Image::ALL {
        let fleet = Fleet::new().unwrap();
        let web = web(&fleet, image);
        let generation = web.generation().unwrap();
        let run = published(&web, &next(json!({"template": "gone"})));
        println!("{image:?}: put back after {:?}", run.took);
        assert_eq!(run.code, 4, "{}", run.said);
        let row = web.sites_row().unwrap();
        assert_eq!(row["outcome"], "put-back", "{row}");
        assert!(text(&row, "error").contains("410 Gone"), "{row}");
        assert_eq!(web.generation().unwrap(), generation);
        assert_eq!(web.generations().unwrap(), [generation.as_str()]);
        wait_until("the shop as it was", SOON, || serves(&web)).unwrap();
        let code = web.ask(80, "next.example.com", "/").map(|(code, _)| code);
        assert_ne!(code, Some(410), "the vhost that was put back still answers");

        // Not tried again, not even reloaded.
        let reloads = web.reloads().unwrap();
        let again = web.once().unwrap();
        assert_eq!(
            (again.code, web.reloads().unwrap()),
            (4, reloads),
            "{}",
            again.said
        );
        assert_eq!(web.row(NEXT).unwrap()["outcome"], "quarantined");
        let run = published(&web, &next(json!({})));
        assert_eq!(run.code, 2, "{}", run.said);
        assert!(web.proves(80, "next.example.com", "next").unwrap());
    }
}

#[test]
fn a_port_that_another_process_listens_on_is_seen_before_anything_is_touched() {
    for image in Image::ALL {
        let fleet = Fleet::new().unwrap();
        let web = web(&fleet, image);
        let (generation, reloads) = (web.generation().unwrap(), web.reloads().unwrap());
        hold_port(&web, "listen(S, 5) or die;");
        let run = published(&web, &next(json!({"port": 9191})));
        assert_eq!(run.code, 4, "{}", run.said);
        assert!(run.said.contains("wants port 9191"), "{}", run.said);
        assert_eq!(web.generation().unwrap(), generation);
        assert_eq!(web.reloads().unwrap(), reloads);
        assert!(serves(&web));
        // Once the port is free, the same version comes true.
        web.machine
            .must(&["systemctl", "stop", "holder.service"])
            .unwrap();
        let run = web.once().unwrap();
        assert_eq!(run.code, 2, "{}", run.said);
        assert!(web.proves(9191, "next.example.com", "next").unwrap());
    }
}

#[test]
fn an_apache_that_ends_at_the_reload_is_back_at_once_with_the_old_sites() {
    for image in Image::ALL {
        let fleet = Fleet::new().unwrap();
        let web = web(&fleet, image);
        let generation = web.generation().unwrap();
        // Bound, not listening: nobody can see that, and Apache cannot have the port.
        hold_port(&web, "");
        web.publish(&next(json!({"port": 9191}))).unwrap();
        let gap = r"last=${EPOCHREALTIME/./}; worst=0
            while [ ! -e /run/enough ]; do
                curl -sf --max-time 2 -o /dev/null -H 'Host: shop.example.com' http://127.0.0.1/ || continue
                now=${EPOCHREALTIME/./}; [ $((now - last)) -le $worst ] || worst=$((now - last)); last=$now
            done; echo $((worst / 1000))";
        let (run, gap) = std::thread::scope(|scope| {
            let asking = scope.spawn(|| {
                web.machine
                    .run_with(&["bash", "-c", gap], b"", SOON)
                    .unwrap()
            });
            let run = web.once().unwrap();
            web.machine.write("/run/enough", b"").unwrap();
            (run, asking.join().unwrap())
        });
        assert_eq!(run.code, 4, "{}", run.said);
        let row = web.sites_row().unwrap();
        assert_eq!(row["outcome"], "put-back", "{row}");
        // Apache ends within the reload that systemd waits for, or a moment later.
        let error = text(&row, "error");
        let reload = format!("reload -- {} failed", image.apache_unit());
        assert!(
            error.contains("ended after it was asked") || error.contains(&reload),
            "{error}"
        );
        assert!(
            error.contains("could not bind to address") && error.contains("9191"),
            "{error}"
        );
        println!(
            "{image:?}: Apache ended at the reload and was put back: run {:?}, longest time without an answer {} ms",
            run.took,
            gap.stdout.trim()
        );
        assert_eq!(web.generation().unwrap(), generation);
        assert!(serves(&web));
        assert!(web.machine.is_active(image.apache_unit()));
        assert!(gap.stdout.trim().parse::<u64>().unwrap() < 5000, "{gap:?}");
        // Not tried again; the run that failed stays the last one to be read of.
        let again = web.once().unwrap();
        assert_eq!(again.code, 4, "{}", again.said);
        assert!(again.said.contains("QUARANTINED"), "{}", again.said);
        assert_eq!(web.sites_row().unwrap()["outcome"], "put-back");
    }
}

/// A process that holds port 9191 until holder.service is stopped.
#[cfg(test)]
fn hold_port(web: &WebBox, more: &str) {
    let perl = format!(
        "use Socket; socket(S, PF_INET, SOCK_STREAM, 0) or die; bind(S, sockaddr_in(9191, INADDR_ANY)) or die; {more} open(F, '>', '/run/held'); close(F); sleep 600"
    );
    let run = [
        "systemd-run",
        "--quiet",
        "--unit=holder",
        "perl",
        "-e",
        &perl,
    ];
    web.machine.must(&run).unwrap();
    wait_until("the port to be held", SOON, || {
        web.machine.exists("/run/held")
    })
    .unwrap();
}

#[test]
fn a_main_configuration_that_somebody_broke_is_not_the_documents_fault() {
    for image in Image::ALL {
        let fleet = Fleet::new().unwrap();
        let web = web(&fleet, image);
        let (generation, reloads) = (web.generation().unwrap(), web.reloads().unwrap());
        let main = web.machine.read(web.main_config()).unwrap();
        let broken = format!("{main}\nBogusByHand on\n");
        web.machine
            .write(web.main_config(), broken.as_bytes())
            .unwrap();
        web.publish(&next(json!({}))).unwrap();
        // As often as it is tried.
        for _ in 0..2 {
            let run = web.once().unwrap();
            assert_eq!(run.code, 4, "{}", run.said);
            let row = web.sites_row().unwrap();
            assert_eq!(row["outcome"], "failed", "{row}");
            assert!(
                text(&row, "error").contains("fails without our change too"),
                "{row}"
            );
            assert!(text(&row, "error").contains("BogusByHand"), "{row}");
            assert_eq!(web.generation().unwrap(), generation);
            assert_eq!(web.reloads().unwrap(), reloads);
            assert!(serves(&web));
        }
        // Mended by hand, the same version comes true by itself.
        web.machine
            .write(web.main_config(), main.as_bytes())
            .unwrap();
        let run = web.once().unwrap();
        assert_eq!(run.code, 2, "{}", run.said);
        assert!(serves(&web) && web.proves(80, "next.example.com", "next").unwrap());
    }
}

#[test]
fn a_reload_that_a_broken_main_configuration_prevents_stays_outstanding() {
    for image in Image::ALL {
        let fleet = Fleet::new().unwrap();
        let web = web(&fleet, image);
        // Killed between the switch and the reload, at whatever point that is.
        let mut number = 0;
        let mut kill_at = |point| {
            number += 1;
            let before = web.generation().unwrap();
            let directory = format!("/srv/next/{number}");
            web.machine.must(&["mkdir", "-p", &directory]).unwrap();
            web.publish(&next(json!({"root": directory}))).unwrap();
            web.once_killed_at(point).unwrap();
            web.generation().unwrap() != before
        };
        // All changes are alike, so the first point after the switch is found by halving.
        let (mut before, mut after) = (0, 128);
        while after - before > 1 {
            let point = u32::midpoint(before, after);
            let switched = kill_at(point);
            *if switched { &mut after } else { &mut before } = point;
            assert!(matches!(web.once().unwrap().code, 0 | 2));
        }
        let reloads = web.reloads().unwrap();
        assert!(kill_at(after));
        assert_eq!(web.reloads().unwrap(), reloads, "not reloaded yet");
        let after = web.generation().unwrap();

        let main = web.machine.read(web.main_config()).unwrap();
        let broken = format!("{main}\nBogusByHand on\n");
        web.machine
            .write(web.main_config(), broken.as_bytes())
            .unwrap();
        for _ in 0..2 {
            let run = web.once().unwrap();
            assert_eq!(run.code, 4, "{}", run.said);
            let row = web.sites_row().unwrap();
            assert_eq!(row["outcome"], "failed", "{row}");
            assert!(text(&row, "error").contains("BogusByHand"), "{row}");
            assert_eq!(web.generation().unwrap(), after);
            assert_eq!(
                web.ask(80, "shop.example.com", "/"),
                Some((200, "the shop".to_owned()))
            );
        }
        web.machine
            .write(web.main_config(), main.as_bytes())
            .unwrap();
        let run = web.once().unwrap();
        assert_eq!(run.code, 2, "{}", run.said);
        assert_eq!(web.generation().unwrap(), after);
        assert!(serves(&web) && web.proves(80, "next.example.com", "next").unwrap());
        assert_eq!(web.once().unwrap().code, 0);
    }
}

#[test]
fn killed_at_any_point_the_next_start_converges_on_debian() {
    // A sample: the steps are the same, Apache's commands are not.
    killed_at_points(Image::Debian, 4);
}

#[test]
fn killed_at_any_point_the_next_start_converges_on_centos() {
    killed_at_points(Image::CentosLayout, 2);
}

#[cfg(test)]
fn killed_at_points(image: Image, stride: u32) {
    let fleet = Fleet::new().unwrap();
    let web = web(&fleet, image);
    let start = Instant::now();
    let mut slowest = Duration::ZERO;
    let mut killed = Vec::new();
    for point in (1..).step_by(stride as usize) {
        // Another document each time: a site comes, goes, moves.
        let (domain, document) = match point % 3 {
            0 => ("next.example.com", next(json!({}))),
            1 => ("shop.example.com", sites(json!({}))),
            _ => ("next.example.com", next(json!({"port": 9191}))),
        };
        web.publish(&document).unwrap();
        let run = web.once_killed_at(point).unwrap();
        if run.code != 137 {
            assert_eq!(run.code, 2, "point {point}: {}", run.said);
            assert!(killed.last() > Some(&30), "killed only at {killed:?}");
            break;
        }
        killed.push(point);
        let shop = web.ask(80, "shop.example.com", "/");
        assert_eq!(
            shop,
            Some((200, "the shop".to_owned())),
            "point {point}: the shop is away"
        );

        let run = web.once().unwrap();
        slowest = slowest.max(run.took);
        assert!(
            matches!(run.code, 0 | 2),
            "point {point}: {} {}",
            run.code,
            run.said
        );
        assert!(serves(&web), "point {point}: {}", run.said);
        let (port, site) = match point % 3 {
            0 => (80, "next"),
            1 => (80, "www"),
            _ => (9191, "next"),
        };
        assert!(
            web.proves(port, domain, site).unwrap(),
            "point {point}: {}",
            run.said
        );
        assert_eq!(
            web.generations().unwrap(),
            [web.generation().unwrap()],
            "point {point}"
        );
        let (reloads, rest) = (web.reloads().unwrap(), web.once().unwrap());
        assert_eq!(
            (rest.code, web.reloads().unwrap()),
            (0, reloads),
            "point {point}: {}",
            rest.said
        );
    }
    println!(
        "{image:?}: killed at {} points; the slowest run after one took {slowest:?}; all {:?}",
        killed.len(),
        start.elapsed()
    );
}
