//! Smoke tests: a site is asked as a visitor would ask it, at the box's own address, and its answer looked at.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::converge::apply::http_answer::HttpAnswer;
use crate::converge::apply::{Applier, Fault, tls};
use crate::converge::plan::PlannedStep;
use crate::fleet::names::PageText;
use crate::report::StepRecord;
use crate::resource::{ReleaseFailure, ReleaseRecord, Smoke};

/// The most of an answer that is looked at, in bytes, its headers included.
const ANSWER_LIMIT: usize = 1024 * 1024;
/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);
/// How long all requests that warm a site up may take together.
const WARMING: Duration = Duration::from_mins(1);
/// What of an answer is quoted.
const QUOTED: usize = 120;

/// What a smoke test came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The answer was as expected.
    Passed,
    /// It was not, or there was none: why.
    Failed(String),
}

impl Applier<'_> {
    /// Asks what shows that the releases work that a step switches to.
    pub(in crate::converge) async fn smoke(
        &self,
        step: &PlannedStep,
        row: &mut StepRecord,
    ) -> Result<(), Fault> {
        for smoke in &step.smoke {
            let progress = || self.say(&format!("smoke test of {}", smoke.product), step);
            progress();
            warm_up(smoke, &progress).await;
            let Verdict::Failed(why) = ask(smoke, &progress).await else {
                continue;
            };
            let Some(version) = &smoke.release else {
                continue;
            };
            let product = &smoke.product;
            let error = format!("its smoke test failed after the switch: {why}");
            if let Some(mut record) = ReleaseRecord::load(self.files, product, version)? {
                record.failed = Some(ReleaseFailure {
                    since: self.started,
                    error: error.clone(),
                });
                record.save(self.files, product)?;
            }
            return Err(Fault::Release(format!(
                "the release {version} of {product}: {error}"
            )));
        }
        if !step.smoke.is_empty() {
            row.notes.push(format!(
                "{} smoke tests passed after the switch",
                step.smoke.len()
            ));
        }
        Ok(())
    }
}

/// Makes the requests after a switch that fill caches, whatever their answers.
async fn warm_up(smoke: &Smoke, progress: &dyn Fn()) {
    let until = Instant::now() + WARMING;
    for _ in 0..smoke.test.warm_ups() {
        if Instant::now() >= until {
            break;
        }
        progress();
        // Only the one that counts is judged.
        let _ = timeout(smoke.test.time(), answer(smoke)).await;
    }
}

/// Asks, again where the answer is not as expected. `progress` is called before each try.
pub async fn ask(smoke: &Smoke, progress: &dyn Fn()) -> Verdict {
    let mut verdict = Verdict::Passed;
    for attempt in 0..=smoke.test.tries_more() {
        if attempt > 0 {
            sleep(PAUSE).await;
        }
        progress();
        verdict = once(smoke).await;
        if verdict == Verdict::Passed {
            break;
        }
    }
    verdict
}

async fn once(smoke: &Smoke) -> Verdict {
    let within = smoke.test.time();
    let failed = |why: String| {
        let scheme = if smoke.tls { "https" } else { "http" };
        let (host, path, at) = (&smoke.host, &smoke.test.path, smoke.at);
        Verdict::Failed(format!("{scheme}://{host}{path} asked at {at}: {why}"))
    };
    match timeout(within, answer(smoke)).await {
        Err(_) => failed(format!("no whole answer within {} s", within.as_secs())),
        Ok(Err(error)) => failed(error.to_string()),
        Ok(Ok(answer)) => match judge(smoke, &answer) {
            Ok(()) => Verdict::Passed,
            Err(why) => failed(why),
        },
    }
}

async fn answer(smoke: &Smoke) -> io::Result<HttpAnswer> {
    let usual = if smoke.tls { 443 } else { 80 };
    let host = if smoke.at.port() == usual {
        smoke.host.clone()
    } else {
        format!("{}:{}", smoke.host, smoke.at.port())
    };
    let request = format!(
        "GET {} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: node-agent smoke test\r\nConnection: close\r\n\r\n",
        smoke.test.path
    );
    let answered = if smoke.tls {
        let stream = tls::connect(smoke.at, &smoke.host).await?;
        HttpAnswer::to(&request, stream, ANSWER_LIMIT).await?
    } else {
        let stream = TcpStream::connect(smoke.at).await?;
        HttpAnswer::to(&request, stream, ANSWER_LIMIT).await?
    };
    answered.ok_or_else(|| io::Error::other("it did not answer as HTTP does"))
}

/// The error says how the answer is otherwise.
fn judge(smoke: &Smoke, answer: &HttpAnswer) -> Result<(), String> {
    let test = &smoke.test;
    let shown = || {
        let text = String::from_utf8_lossy(&answer.body);
        let line = text.trim().chars().take(QUOTED);
        let line: String = line.map(|c| if c.is_control() { ' ' } else { c }).collect();
        format!("{line:?}")
    };
    let wanted = test.expected_status();
    if answer.status != wanted {
        return Err(format!(
            "it answered {}, and {wanted} is expected; its page begins with {}",
            answer.status,
            shown()
        ));
    }
    for (name, part) in &test.header {
        let mut values = answer
            .headers
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name.as_str()))
            .map(|(_, value)| value);
        if !values.clone().any(|value| value.contains(part.as_str())) {
            let found = values.next().map_or_else(
                || "it has no such header".to_owned(),
                |value| format!("it is {value:?}"),
            );
            return Err(format!(
                "its header {name} should have {part:?} in it: {found}"
            ));
        }
    }
    let has = |text: &PageText| {
        let text = text.as_str().as_bytes();
        answer.body.windows(text.len()).any(|part| part == text)
    };
    if let Some(text) = test.contains.as_ref().filter(|text| !has(text)) {
        return Err(format!(
            "its page lacks {:?}; it begins with {}",
            text.as_str(),
            shown()
        ));
    }
    if let Some(text) = test.lacks.as_ref().filter(|text| has(text)) {
        return Err(format!("its page has {:?} in it", text.as_str()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smoke(test: serde_json::Value) -> Smoke {
        Smoke {
            product: "shop".parse().unwrap(),
            release: None,
            test: serde_json::from_value(test).unwrap(),
            at: "127.0.0.1:80".parse().unwrap(),
            tls: false,
            host: "shop.example.com".into(),
        }
    }

    #[test]
    fn an_answer_is_judged_by_status_header_and_page() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\nall is ok\n";
        let answer = HttpAnswer::parse(bytes).unwrap();
        let judged = |test| judge(&smoke(test), &answer);
        let all = serde_json::json!({"site": "www", "path": "/", "header": {"content-type": "text/html"},
            "contains": "ok", "lacks": "Warning:"});
        assert_eq!(judged(all), Ok(()));
        for (test, why) in [
            (
                serde_json::json!({"site": "www", "path": "/", "status": 302}),
                "302 is expected",
            ),
            (
                serde_json::json!({"site": "www", "path": "/", "contains": "fine"}),
                "lacks \"fine\"",
            ),
            (
                serde_json::json!({"site": "www", "path": "/", "lacks": "all is"}),
                "has \"all is\"",
            ),
            (
                serde_json::json!({"site": "www", "path": "/", "header": {"X-Served": "a"}}),
                "no such header",
            ),
            (
                serde_json::json!({"site": "www", "path": "/", "header": {"Content-Type": "json"}}),
                "it is \"text/html",
            ),
        ] {
            let error = judged(test).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
