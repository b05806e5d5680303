//! A look at the whole fleet: what is published, and what the machines say; again and again, asking only for what may have changed.

use super::super::failure::Failure;
use super::desk::Desk;
use super::published::{Published, told};
use crate::bucket::{Bucket, Tag};
use crate::overview::{ReportReader, Summary};
use crate::report::fleet_status::{FleetStatus, Reports, Source};
use crate::system::{chain, clock};

/// What was seen, and what is needed to look again.
pub(in crate::ctl) struct Glance {
    bucket: Bucket,
    reader: ReportReader,
    published: Option<Published>,
    summary: Option<(Summary, Tag)>,
    /// The reports themselves are read, whatever summary there is.
    direct: bool,
}

impl Glance {
    /// Has seen nothing yet. `direct`: it will use no summary.
    pub(in crate::ctl) async fn new(desk: &Desk, direct: bool) -> Result<Self, Failure> {
        let bucket = desk.bucket().await?;
        Ok(Self {
            reader: ReportReader::new(bucket.clone()),
            bucket,
            published: None,
            summary: None,
            direct,
        })
    }

    /// The published document of the last look.
    pub(in crate::ctl) fn published(&self) -> Option<&Published> {
        self.published.as_ref()
    }

    /// The fleet as it is now.
    pub(in crate::ctl) async fn look(&mut self, desk: &Desk) -> Result<FleetStatus, Failure> {
        let published = match self.published.take() {
            Some(published) => published.again(&self.bucket, desk.trust()?).await?,
            None => None,
        };
        let published = match published {
            Some(published) => published,
            None => desk.published().await?,
        };
        let document = published.good("what is published")?.clone();
        // This desk's clock may be wrong; what is asked for is how old things in the bucket are.
        let date = self
            .bucket
            .date(crate::converge::intake::KEY, Some(&published.tag));
        let now = date.await.unwrap_or_else(clock::now);
        self.published = Some(published);
        let (reports, source) = self.reports(desk, now).await?;
        Ok(FleetStatus::of(
            &document.fleet,
            &document.id,
            &reports,
            source,
            now,
        ))
    }

    async fn reports(
        &mut self,
        desk: &Desk,
        now: jiff::Timestamp,
    ) -> Result<(Reports, Source), Failure> {
        if !self.direct {
            let known = self.summary.as_ref().map(|(_, tag)| tag);
            match Summary::get(&self.bucket, known).await {
                Ok(Some(newer)) => self.summary = Some(newer),
                Ok(None) => {}
                Err(error) => desk.console.note(&format!(
                    "the summary is not used, the reports are read themselves: {}",
                    chain(&error)
                )),
            }
            if let Some((summary, _)) = &self.summary
                && summary.is_fresh(now)
            {
                let source = Source::Summary {
                    by: summary.by.clone(),
                    at: summary.written,
                };
                return Ok((summary.reports.clone(), source));
            }
        }
        let reports = self.reader.read().await.map_err(told)?;
        Ok((reports, Source::Reports))
    }
}
