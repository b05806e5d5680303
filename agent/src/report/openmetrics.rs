//! The watch as OpenMetrics text, for Prometheus. Pure.
//!
//! Only gauges and counters, so that the older text format of Prometheus, which `node_exporter`'s textfile
//! collector reads, understands all of it too. Moments are given as such: a file that is read late must not say
//! that something was a second ago.

use std::fmt::Write;

use jiff::Timestamp;

use super::watch::{Kind, Reading, Unit, Value, Watch, What};
use crate::report::Health;

/// All metrics.
pub fn text(watch: &Watch<'_>) -> String {
    let mut out = String::new();
    build(&mut out, watch);
    if watch.is_live() {
        health(&mut out, watch);
    }
    let started = watch.seen.status.map(|status| status.agent.started);
    let readings: Vec<_> = watch.present().collect();
    let mut told: Vec<&'static str> = Vec::new();
    for reading in &readings {
        let what = reading.what;
        if told.contains(&what.metric) {
            continue;
        }
        told.push(what.metric);
        let samples: Vec<_> = readings
            .iter()
            .filter(|other| other.what.metric == what.metric && other.value.is_some())
            .collect();
        if samples.is_empty() {
            continue;
        }
        let name = head(&mut out, what);
        for sample in samples {
            write_sample(&mut out, &name, sample, started);
        }
    }
    out.push_str("# EOF\n");
    out
}

/// Type, unit and help; returns the family's name.
fn head(out: &mut String, what: &What) -> String {
    let unit = match what.unit {
        Unit::Seconds => Some("seconds"),
        Unit::Bytes => Some("bytes"),
        Unit::None => None,
    };
    let suffix = unit.map_or_else(String::new, |unit| format!("_{unit}"));
    let name = format!("agentd_{}{suffix}", what.metric);
    let kind = match what.kind {
        Kind::Counter => "counter",
        Kind::Gauge | Kind::Age | Kind::Left => "gauge",
    };
    let _ = writeln!(out, "# TYPE {name} {kind}");
    if let Some(unit) = unit {
        let _ = writeln!(out, "# UNIT {name} {unit}");
    }
    let _ = writeln!(out, "# HELP {name} {}.", what.help);
    name
}

fn write_sample(out: &mut String, name: &str, reading: &Reading, started: Option<Timestamp>) {
    let labels = match &reading.of {
        None => String::new(),
        Some(of) => format!("{{product=\"{}\"}}", escaped(of)),
    };
    let number = match reading.value {
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Moment(at)) => at.as_second().to_string(),
        None => return,
    };
    if reading.what.kind == Kind::Counter {
        let _ = writeln!(out, "{name}_total{labels} {number}");
        if let Some(started) = started {
            let _ = writeln!(out, "{name}_created{labels} {}", started.as_second());
        }
    } else {
        let _ = writeln!(out, "{name}{labels} {number}");
    }
}

/// Who says all this.
fn build(out: &mut String, watch: &Watch<'_>) {
    let Some(status) = watch.seen.status else {
        return;
    };
    let node = status.node.name.as_ref();
    let fleet = status.document.as_ref();
    let _ = write!(
        out,
        "# TYPE agentd_build_info gauge\n\
         # HELP agentd_build_info The agent's version, and which server of which fleet this is; always 1.\n\
         agentd_build_info{{version=\"{}\",node=\"{}\",fleet=\"{}\"}} 1\n",
        escaped(&status.agent.version),
        escaped(node.map_or("", |node| node.as_str())),
        escaped(&fleet.map_or_else(String::new, |document| document.id.fleet.to_string())),
    );
}

/// One of the states is 1, the others are 0.
fn health(out: &mut String, watch: &Watch<'_>) {
    let Some(status) = watch.seen.status else {
        return;
    };
    out.push_str(
        "# TYPE agentd_health gauge\n\
         # HELP agentd_health How the box is: 1 for its state and 0 for the others.\n",
    );
    for (health, name) in [
        (Health::Converged, "converged"),
        (Health::Degraded, "degraded"),
        (Health::Waiting, "waiting"),
    ] {
        let set = u8::from(health == status.health);
        let _ = writeln!(out, "agentd_health{{state=\"{name}\"}} {set}");
    }
}

/// A label's value, as the format wants it.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::super::watch::Seen;
    use super::super::watch::tests::{boxes, now};
    use super::*;

    fn of(status: Option<&crate::report::Status>, running: Option<bool>) -> String {
        let seen = Seen {
            status,
            trouble: None,
            running,
        };
        text(&Watch::new(seen, now()))
    }

    #[test]
    fn what_is_printed() {
        let (_, status, _) = boxes().into_iter().next().unwrap();
        insta::assert_snapshot!("openmetrics", of(status.as_ref(), Some(true)));
        insta::assert_snapshot!(
            "openmetrics_of_a_dead_agent",
            of(status.as_ref(), Some(false))
        );
        assert_eq!(of(None, None), "# EOF\n");
    }

    #[test]
    fn labels_are_escaped() {
        let (_, status, _) = boxes().into_iter().next().unwrap();
        let mut status = status.unwrap();
        status.agent.version = "0.1\"\\\n".into();
        let text = of(Some(&status), Some(true));
        assert!(text.contains(r#"version="0.1\"\\\n","#), "{text}");
    }
}
