//! How far a snapshot can be brought with the archive, and where that stops: looked at before anything is done.
//!
//! A moment is resolved to a transaction here, and only that stops a replay: times in a binary log have whole seconds, and sessions can
//! set them. What was read from the log before the moment was committed before it; of what was read later, the transactions' own times
//! decide.

use jiff::Timestamp;

use super::events::Event;
use super::gtid::{Gtid, Tips};
use super::store::StoreError;
use super::walk::{Chapter, End, Visitor, chapters, walk};
use crate::bucket::Bucket;
use crate::fleet::Name;

/// Where to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// As far as the archive goes.
    End,
    /// Up to just before this transaction.
    Before(Gtid),
    /// Up to the last transaction that was committed at this moment or before.
    At(Timestamp),
}

/// A transaction, and when its master committed it, to the second.
pub type Dated = (Gtid, Timestamp);

/// What is behind a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// The files to go through.
    pub chapters: Vec<Chapter>,
    /// How many transactions are to be replayed.
    pub transactions: u64,
    /// Their size, in bytes.
    pub bytes: u64,
    /// The last of them.
    pub last: Option<Dated>,
    /// The first that is left out.
    pub stop: Option<Dated>,
    /// Where the server then is.
    pub position: Tips,
    /// When the newest of what was gone through was read from the server's log.
    pub read: Option<Timestamp>,
    /// Why no more of it can follow, where the archive has more.
    pub gap: Option<String>,
}

/// That point cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    /// The archive cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The snapshot is beyond it.
    #[error("the snapshot has {0} already: take an older one")]
    Beyond(Gtid),
    /// The archive has nothing that goes on from the snapshot.
    #[error("the archive has nothing that goes on from {0}")]
    Nothing(Tips),
    /// The archive does not come to it.
    #[error("{wanted} cannot be reached: {why}; the last that can be is {last}")]
    Short {
        /// What is wanted.
        wanted: String,
        /// Why.
        why: String,
        /// The last position.
        last: Tips,
    },
}

struct Survey {
    target: Target,
    transactions: u64,
    bytes: u64,
    /// Of the transaction that is open.
    open: u64,
    last: Option<Dated>,
    stop: Option<Dated>,
    read: Option<Timestamp>,
}

impl Visitor for Survey {
    type Error = StoreError;

    async fn format(&mut self, _: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn begins(
        &mut self,
        gtid: Gtid,
        time: Timestamp,
        _: Timestamp,
    ) -> Result<bool, StoreError> {
        self.open = 0;
        let is_stop = self.target == Target::Before(gtid);
        if is_stop {
            self.stop = Some((gtid, time));
        }
        Ok(!is_stop)
    }

    async fn event(&mut self, event: &Event<'_>, _: bool) -> Result<(), StoreError> {
        self.open = self.open.saturating_add(event.bytes.len() as u64);
        Ok(())
    }

    async fn ends(
        &mut self,
        gtid: Gtid,
        time: Timestamp,
        read: Timestamp,
    ) -> Result<bool, StoreError> {
        if let Target::At(moment) = self.target
            && time > moment
            && read > moment
        {
            self.stop = Some((gtid, time));
            return Ok(false);
        }
        self.transactions = self.transactions.saturating_add(1);
        self.bytes = self.bytes.saturating_add(self.open);
        self.last = Some((gtid, time));
        self.read = Some(read);
        Ok(true)
    }

    async fn drops(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Looks how a server at `position` gets to `target`. Nothing is done.
pub async fn reach(
    bucket: &Bucket,
    product: &Name,
    position: &Tips,
    target: Target,
) -> Result<Reach, ReachError> {
    if let Target::Before(gtid) = target
        && position
            .of(gtid.domain)
            .is_some_and(|tip| tip.sequence >= gtid.sequence)
    {
        return Err(ReachError::Beyond(gtid));
    }
    let chapters = chapters(bucket, product, position).await?;
    if chapters.is_empty() {
        return Err(ReachError::Nothing(position.clone()));
    }
    let mut survey = Survey {
        target,
        transactions: 0,
        bytes: 0,
        open: 0,
        last: None,
        stop: None,
        read: None,
    };
    let mut end = position.clone();
    let ended = walk(bucket, product, &chapters, &mut end, &mut survey).await?;
    let gap = match ended {
        End::Gap(why) => Some(why),
        End::Archive | End::Visitor => None,
    };
    let short = |wanted: String, why: String| {
        Err(ReachError::Short {
            wanted,
            why,
            last: end.clone(),
        })
    };
    match target {
        Target::Before(gtid) if survey.stop.is_none() => {
            let none = "the archive, as far as it goes, does not have it";
            return short(gtid.to_string(), gap.unwrap_or_else(|| none.to_owned()));
        }
        Target::At(moment) => {
            if let Some(why) = gap {
                return short(moment.to_string(), why);
            }
        }
        Target::End | Target::Before(_) => {}
    }
    Ok(Reach {
        chapters,
        transactions: survey.transactions,
        bytes: survey.bytes,
        last: survey.last,
        stop: survey.stop,
        position: end,
        read: survey.read,
        gap,
    })
}
