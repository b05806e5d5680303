//! A reader of AWS policies as strict as tests need it: what it does not know is an error, never an allowance.
//!
//! It judges one request by one policy: an explicit denial wins, then an allowance; what nobody speaks of is refused.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::machine::{Trouble, run};

/// The directory of the policies' templates.
pub const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/iam");

/// A policy.
#[derive(Debug, Clone)]
pub struct Policy {
    statements: Vec<Statement>,
}

/// One of its statements.
#[derive(Debug, Clone)]
pub struct Statement {
    /// Its name.
    pub sid: String,
    /// What it speaks of: `s3:GetObject`, with wildcards.
    pub actions: Vec<String>,
    /// On what, with wildcards.
    pub resources: Vec<String>,
    deny: bool,
    conditions: Vec<(Operator, String, String)>,
}

/// How a condition compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Null,
    Bool,
    ArnNotLike,
}

/// One request: what, on what, and what else is known of it.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `s3:GetObject`.
    pub action: &'a str,
    /// `arn:aws:s3:::bucket/key`.
    pub resource: &'a str,
    /// Condition keys that are there, and their values.
    pub context: &'a [(&'a str, &'a str)],
}

/// What a policy says of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A statement allows it and none denies it.
    Allowed,
    /// A statement denies it.
    Denied,
    /// Nobody speaks of it.
    Silent,
}

impl Policy {
    /// Reads a policy. Members, operators and effects that are not known here are errors.
    pub fn read(text: &str) -> Result<Self, Trouble> {
        let policy: Value =
            serde_json::from_str(text).map_err(|e| Trouble::caused("no JSON", e))?;
        only(&policy, &["Version", "Statement"])?;
        if policy.get("Version") != Some(&Value::from("2012-10-17")) {
            return Err(Trouble::new("the version is not 2012-10-17"));
        }
        let statements = policy.get("Statement").and_then(Value::as_array);
        let statements = statements.ok_or_else(|| Trouble::new("no list of statements"))?;
        Ok(Self {
            statements: statements
                .iter()
                .map(Statement::read)
                .collect::<Result<_, _>>()?,
        })
    }

    /// The template `name`, filled in by the script beside it.
    pub fn filled(name: &str, options: &[&str]) -> Result<(Self, String), Trouble> {
        let script = Path::new(DIRECTORY).join("policy").display().to_string();
        let argv = [&[script.as_str(), name], options].concat();
        let said = run(&argv, b"", Duration::from_secs(20))?;
        if said.success() {
            Ok((Self::read(&said.stdout)?, said.stdout))
        } else {
            Err(Trouble::caused(format!("policy {name}"), said.stderr))
        }
    }

    /// What it says of a request.
    pub fn judge(&self, request: Request<'_>) -> Verdict {
        let mut verdict = Verdict::Silent;
        for statement in &self.statements {
            if statement.speaks_of(request) {
                if statement.deny {
                    return Verdict::Denied;
                }
                verdict = Verdict::Allowed;
            }
        }
        verdict
    }

    /// Its statements.
    pub fn statements(&self) -> &[Statement] {
        &self.statements
    }
}

impl Statement {
    fn read(value: &Value) -> Result<Self, Trouble> {
        only(
            value,
            &[
                "Sid",
                "Effect",
                "Principal",
                "Action",
                "Resource",
                "Condition",
            ],
        )?;
        let text = |name| value.get(name).and_then(Value::as_str).unwrap_or_default();
        let deny = match text("Effect") {
            "Allow" => false,
            "Deny" => true,
            other => return Err(Trouble::new(format!("the effect {other:?}"))),
        };
        let sid = text("Sid").to_owned();
        if !matches!(text("Principal"), "" | "*") {
            return Err(Trouble::new(format!("{sid}: a principal")));
        }
        Ok(Self {
            actions: strings(value.get("Action"))?,
            resources: strings(value.get("Resource"))?,
            conditions: conditions(value.get("Condition"))?,
            sid,
            deny,
        })
    }

    fn speaks_of(&self, request: Request<'_>) -> bool {
        let known: BTreeMap<&str, &str> = request.context.iter().copied().collect();
        self.actions
            .iter()
            .any(|pattern| like(pattern, request.action))
            && self
                .resources
                .iter()
                .any(|pattern| like(pattern, request.resource))
            // All must hold.
            && self.conditions.iter().all(|(operator, key, wanted)| {
                let there = known.get(key.as_str());
                match operator {
                    Operator::Null => there.is_none() == (wanted == "true"),
                    Operator::Bool => there == Some(&wanted.as_str()),
                    Operator::ArnNotLike => there.is_none_or(|there| !like(wanted, there)),
                }
            })
    }
}

/// Whether `text` is what `pattern` says: `*` is anything, slashes included, `?` any one character.
pub fn like(pattern: &str, text: &str) -> bool {
    let mut pattern_rest = pattern.chars();
    match pattern_rest.next() {
        None => text.is_empty(),
        Some('*') => {
            let rest = pattern_rest.as_str();
            let ends = text.char_indices().map(|(index, _)| index);
            ends.chain([text.len()])
                .any(|index| text.get(index..).is_some_and(|tail| like(rest, tail)))
        }
        Some(wanted) => {
            let mut text_rest = text.chars();
            text_rest
                .next()
                .is_some_and(|found| wanted == '?' || wanted == found)
                && like(pattern_rest.as_str(), text_rest.as_str())
        }
    }
}

fn only(value: &Value, known: &[&str]) -> Result<(), Trouble> {
    let members = value.as_object().into_iter().flatten();
    match members
        .map(|(name, _)| name)
        .find(|name| !known.contains(&name.as_str()))
    {
        None => Ok(()),
        Some(name) => Err(Trouble::new(format!("the member {name} is not known here"))),
    }
}

fn strings(value: Option<&Value>) -> Result<Vec<String>, Trouble> {
    let strings: Vec<String> = value
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|one| one.as_str().map(str::to_owned))
        .collect();
    if strings.is_empty() {
        Err(Trouble::new("a list of strings is missing"))
    } else {
        Ok(strings)
    }
}

fn conditions(value: Option<&Value>) -> Result<Vec<(Operator, String, String)>, Trouble> {
    let mut conditions = Vec::new();
    for (operator, keys) in value.and_then(Value::as_object).into_iter().flatten() {
        let operator = match operator.as_str() {
            "Null" => Operator::Null,
            "Bool" => Operator::Bool,
            "ArnNotLike" => Operator::ArnNotLike,
            other => return Err(Trouble::new(format!("the operator {other}"))),
        };
        for (key, wanted) in keys.as_object().into_iter().flatten() {
            let wanted = wanted
                .as_str()
                .ok_or_else(|| Trouble::new(format!("the value of {key}")))?;
            conditions.push((operator, key.clone(), wanted.to_owned()));
        }
    }
    Ok(conditions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_are_aws_s() {
        assert!(like("a*c", "a/b/c"));
        assert!(like("*", ""));
        assert!(like("a?c", "abc"));
        assert!(!like("a?c", "ac"));
        assert!(!like("a*c", "a/b/d"));
        assert!(!like("fleet.json", "fleetXjson"));
    }

    #[test]
    fn what_is_not_known_is_an_error() {
        let policy = |statement: &str| {
            Policy::read(&format!(
                r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#
            ))
        };
        assert!(policy(r#"{"Effect":"Allow","Action":["a"],"Resource":["b"]}"#).is_ok());
        for wrong in [
            r#"{"Effect":"allow","Action":["a"],"Resource":["b"]}"#,
            r#"{"Effect":"Allow","NotAction":["a"],"Resource":["b"]}"#,
            r#"{"Effect":"Allow","Action":["a"],"NotResource":["b"]}"#,
            r#"{"Effect":"Allow","Action":["a"],"Resource":["b"],"Condition":{"StringLike":{"k":"v"}}}"#,
            r#"{"Effect":"Deny","Principal":"me","Action":["a"],"Resource":["b"]}"#,
        ] {
            assert!(policy(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_denial_wins() {
        let policy = Policy::read(
            r#"{"Version":"2012-10-17","Statement":[
              {"Effect":"Allow","Action":["s3:*"],"Resource":["*"]},
              {"Effect":"Deny","Principal":"*","Action":["s3:PutObject"],"Resource":["k"],"Condition":{"Null":{"s3:if-match":"true"}}}]}"#,
        )
        .unwrap();
        let judge = |context| {
            policy.judge(Request {
                action: "s3:PutObject",
                resource: "k",
                context,
            })
        };
        assert_eq!(judge(&[]), Verdict::Denied);
        assert_eq!(judge(&[("s3:if-match", "tag")]), Verdict::Allowed);
    }
}
