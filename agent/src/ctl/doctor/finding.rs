//! What checks find, and what all of it comes to.

use serde::Serialize;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It should be known; the agent does its work all the same.
    Warning,
    /// It keeps the agent, or what the agent keeps, from working.
    Broken,
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check that found it.
    pub check: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in a line.
    pub message: String,
    /// How to mend it.
    pub hint: String,
}

/// Something that could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// The check.
    pub check: &'static str,
    /// Why.
    pub why: String,
}

/// What one check found.
#[derive(Debug)]
pub struct Findings {
    check: &'static str,
    /// What is wrong.
    pub found: Vec<Finding>,
    /// What could not be looked at.
    pub skipped: Vec<Skipped>,
}

impl Findings {
    /// None yet.
    pub const fn of(check: &'static str) -> Self {
        Self {
            check,
            found: Vec::new(),
            skipped: Vec::new(),
        }
    }

    /// Something keeps the agent from working.
    pub fn broken(&mut self, message: impl Into<String>, hint: impl Into<String>) {
        self.push(Severity::Broken, message.into(), hint.into());
    }

    /// Something should be known.
    pub fn warn(&mut self, message: impl Into<String>, hint: impl Into<String>) {
        self.push(Severity::Warning, message.into(), hint.into());
    }

    /// It, or a part of it, could not be looked at.
    pub fn skip(&mut self, why: impl Into<String>) {
        self.skipped.push(Skipped {
            check: self.check,
            why: why.into(),
        });
    }

    fn push(&mut self, severity: Severity, message: String, hint: String) {
        self.found.push(Finding {
            check: self.check,
            severity,
            message,
            hint,
        });
    }
}

/// Everything that was found on a box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// The format of this record: 1.
    pub format: u32,
    /// The worst that was found; `None`: nothing.
    pub worst: Option<Severity>,
    /// How many things of the agent's are left on a box that the document retires. Absent: it is not retired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retired: Option<usize>,
    /// What is wrong, the worst first.
    pub findings: Vec<Finding>,
    /// What could not be looked at.
    pub skipped: Vec<Skipped>,
    /// The checks that were made, these included.
    pub checks: Vec<&'static str>,
}

impl Diagnosis {
    /// Puts together what checks found, in their order.
    pub fn of(all: Vec<Findings>) -> Self {
        let checks = all.iter().map(|findings| findings.check).collect();
        let (mut findings, mut skipped) = (Vec::new(), Vec::new());
        for each in all {
            findings.extend(each.found);
            skipped.extend(each.skipped);
        }
        // Stable: within one severity the checks' order stays, causes before what follows from them.
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        Self {
            format: 1,
            worst: findings.first().map(|finding| finding.severity),
            retired: None,
            findings,
            skipped,
            checks,
        }
    }

    /// What the command exits with.
    pub const fn exit_code(&self) -> u8 {
        match self.worst {
            None => 0,
            Some(Severity::Warning) => 1,
            Some(Severity::Broken) => 2,
        }
    }
}
