//! What people and monitors see: one model of a run and of the box's state, many voices. No input or output.

mod certificates;
mod database;
mod dns;
mod eviction;
pub mod fleet_status;
pub mod html;
mod jobs;
pub mod munin;
pub mod nagios;
mod node_report;
pub mod openmetrics;
mod readiness;
mod rollout;
mod row;
mod run;
mod standing_order;
mod status;
pub mod text;
pub mod watch;

pub use crate::fleet::DocumentId;
pub use certificates::CertificateStatus;
pub use database::{
    ARCHIVE_LATE_SECS, ArchiveStatus, BucketVerdict, ChangeStatus, DatabaseServer, DatabaseStatus,
    FailoverStatus, HoldStatus, LeaseStatus, Part, Place, ServerSeen, SnapshotSeen, SnapshotStatus,
    Trouble,
};
pub use dns::DnsStatus;
pub use eviction::EvictionStatus;
pub use jobs::{JobState, JobStatus};
pub use node_report::{
    Machine, NodeReport, ReportedDatabase, ReportedDocument, ReportedJob, ReportedName,
    ReportedReadiness, ReportedRefusal, ReportedRun, ReportingAgent,
};
pub use readiness::{ProductReadiness, Ready};
pub use rollout::RolloutStatus;
pub use row::{Kind, Problem, Severity, StepName};
pub use run::{
    Action, Cause, ChangeRecord, Outcome, RunRecord, StepRecord, Trigger, exit_code, is_failed,
};
pub use standing_order::{LONGEST_ORDER_SECS, ON_HOLD, StandingOrder, UndoneStatus};
pub use status::{
    AgentStatus, BucketStatus, Counters, DocumentStatus, Health, LatestRun, NodeStatus, Refusal,
    ReportStatus, ServiceDown, Status, StepCounts, TrustStatus,
};
