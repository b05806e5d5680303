//! The watch as a Munin multigraph plugin says it. Pure.

use std::fmt::Write;

use super::watch::{Graph, Kind, Range, Reading, Unit, Watch};

/// What `config` prints. `with_values` (dirtyconfig): the values too, which saves Munin the second question.
pub fn config(watch: &Watch<'_>, with_values: bool) -> String {
    let readings: Vec<_> = watch.present().collect();
    let mut out = String::new();
    for graph in graphs(&readings) {
        let drawn: Vec<_> = of_graph(&readings, graph).collect();
        head(&mut out, graph, &drawn);
        for reading in &drawn {
            describe(&mut out, reading);
        }
        if with_values {
            for reading in &drawn {
                value(&mut out, watch, reading);
            }
        }
    }
    out
}

/// What a fetch prints: each field that `config` has, with its value or `U`.
pub fn fetch(watch: &Watch<'_>) -> String {
    let readings: Vec<_> = watch.present().collect();
    let mut out = String::new();
    for graph in graphs(&readings) {
        let _ = writeln!(out, "multigraph {}", graph.name);
        for reading in of_graph(&readings, graph) {
            value(&mut out, watch, reading);
        }
    }
    out
}

/// Each graph once, in the order of the readings: Munin wants all of a graph in one block.
fn graphs(readings: &[Reading]) -> Vec<&'static Graph> {
    let mut graphs: Vec<&'static Graph> = Vec::new();
    for reading in readings {
        if !graphs.contains(&reading.what.graph) {
            graphs.push(reading.what.graph);
        }
    }
    graphs
}

fn of_graph<'r>(
    readings: &'r [Reading],
    graph: &'static Graph,
) -> impl Iterator<Item = &'r Reading> {
    readings
        .iter()
        .filter(move |reading| reading.what.graph == graph)
}

fn head(out: &mut String, graph: &Graph, drawn: &[&Reading]) {
    let any = |kind| drawn.iter().any(|reading| reading.what.kind == kind);
    let bytes = drawn.iter().any(|reading| reading.what.unit == Unit::Bytes);
    let base = if bytes { 1024 } else { 1000 };
    let floor = if any(Kind::Left) {
        ""
    } else {
        " --lower-limit 0"
    };
    let _ = writeln!(out, "multigraph {}", graph.name);
    let _ = writeln!(out, "graph_title {}", graph.title);
    let _ = writeln!(out, "graph_args --base {base}{floor}");
    let _ = writeln!(out, "graph_vlabel {}", graph.axis);
    let _ = writeln!(out, "graph_category system");
    let _ = writeln!(out, "graph_info {}", graph.info);
    if any(Kind::Counter) {
        let _ = writeln!(out, "graph_period minute");
    } else if !bytes {
        // 0.012 s is not 12 ms to who reads `m` as minutes.
        let _ = writeln!(out, "graph_scale no");
    }
}

fn describe(out: &mut String, reading: &Reading) {
    let (field, what) = (field(reading), reading.what);
    let label = match &reading.of {
        None => what.label.to_owned(),
        Some(of) => format!("{of}: {}", what.label),
    };
    let _ = writeln!(out, "{field}.label {label}");
    let _ = writeln!(out, "{field}.info {}", what.help);
    match what.kind {
        Kind::Counter => {
            // A restart of the daemon begins anew at 0: a negative rate, which the least one discards.
            let _ = writeln!(out, "{field}.type DERIVE\n{field}.min 0");
        }
        Kind::Gauge | Kind::Age => {
            let _ = writeln!(out, "{field}.type GAUGE\n{field}.min 0");
        }
        Kind::Left => {
            let _ = writeln!(out, "{field}.type GAUGE");
        }
    }
    for (name, range) in [("warning", reading.warning), ("critical", reading.critical)] {
        if let Some(limit) = range.and_then(|range| limit(&range)) {
            let _ = writeln!(out, "{field}.{name} {limit}");
        }
    }
}

/// `min:max`, as Munin has it. It knows no ranges that alert inside.
fn limit(range: &Range) -> Option<String> {
    let (least, most) = range.good()?;
    let end = |end: Option<f64>| end.map_or_else(String::new, |end| end.to_string());
    (least.is_some() || most.is_some()).then(|| format!("{}:{}", end(least), end(most)))
}

fn value(out: &mut String, watch: &Watch<'_>, reading: &Reading) {
    let field = field(reading);
    let _ = match reading.number(watch.now) {
        Some(number) => writeln!(out, "{field}.value {number}"),
        None => writeln!(out, "{field}.value U"),
    };
}

/// Letters, digits and underscores, no digit first.
fn field(reading: &Reading) -> String {
    reading
        .key()
        .replace(|c: char| !c.is_ascii_alphanumeric(), "_")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::watch::Seen;
    use super::super::watch::tests::{boxes, now};
    use super::*;

    #[test]
    fn every_box_has_a_value_or_u_for_each_field_that_it_configures() {
        for (name, status, running) in boxes() {
            let seen = Seen {
                status: status.as_ref(),
                trouble: None,
                running,
            };
            let watch = Watch::new(seen, now());
            let (config, fetch) = (config(&watch, false), fetch(&watch));
            let fields = |text: &str, kind: &str| -> BTreeSet<(String, String)> {
                let mut graph = String::new();
                let mut found = BTreeSet::new();
                for line in text.lines() {
                    if let Some(name) = line.strip_prefix("multigraph ") {
                        graph = name.into();
                    } else if let Some((field, _)) = line.split_once(kind) {
                        assert!(found.insert((graph.clone(), field.into())), "{line} twice");
                    }
                }
                found
            };
            let configured = fields(&config, ".label ");
            assert_eq!(configured, fields(&fetch, ".value "), "{name}");
            assert!(configured.len() > 20);
            for line in fetch.lines().filter(|line| !line.starts_with("multigraph")) {
                let value = line.split_once(".value ").unwrap().1;
                assert!(value == "U" || value.parse::<f64>().is_ok(), "{line}");
            }
            // A rate counts whole things.
            for line in config.lines().filter(|line| line.ends_with(".type DERIVE")) {
                let field = line.trim_end_matches(".type DERIVE");
                assert!(config.contains(&format!("{field}.min 0")));
                let value = fetch
                    .lines()
                    .find_map(|line| line.strip_prefix(&format!("{field}.value ")));
                assert!(!value.unwrap().contains('.'), "{field}");
            }
        }
    }

    #[test]
    fn what_is_printed() {
        let mut all = boxes().into_iter();
        let (_, status, running) = all.next().unwrap();
        let seen = Seen {
            status: status.as_ref(),
            trouble: None,
            running,
        };
        let watch = Watch::new(seen, now());
        insta::assert_snapshot!("munin_config", config(&watch, false));
        insta::assert_snapshot!("munin_fetch", fetch(&watch));
        let dirty = config(&watch, true);
        assert!(
            dirty.contains("document_age.value 38\nmultigraph "),
            "{dirty}"
        );
        let gone = Watch::new(
            Seen {
                running: Some(false),
                ..seen
            },
            now(),
        );
        insta::assert_snapshot!("munin_fetch_of_a_dead_agent", fetch(&gone));
        let nothing = Watch::new(Seen::default(), now());
        assert!(
            fetch(&nothing)
                .lines()
                .all(|line| line.starts_with("multigraph ") || line.ends_with(" U"))
        );
    }
}
