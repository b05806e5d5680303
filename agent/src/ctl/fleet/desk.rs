//! What the commands of a desk are done with: the bucket, the settings, the console.

use super::super::args::DeskArgs;
use super::super::console::Console;
use super::super::failure::Failure;
use crate::bucket::Bucket;
use crate::fleet::signing::Generation;
use crate::settings::{BucketUrl, DeskOverrides, DeskSettings, Trust};

/// The largest document that a desk reads, in bytes.
pub(in crate::ctl) const LIMIT: u64 = 256 * 1024 * 1024;

/// A desk.
pub(in crate::ctl) struct Desk {
    /// Their trust is what it has come to by now, once [`Desk::walk`] was called.
    pub(in crate::ctl) settings: DeskSettings,
    /// The `trust/N.json` that says who signs; `None`: the settings do.
    pub(in crate::ctl) generation: Option<Generation>,
    pub(in crate::ctl) console: Console,
}

impl Desk {
    /// As flags, environment and `desk.toml` say. `may_be_missing`: a file that was named and is not there is about to be written.
    pub(in crate::ctl) fn open(
        args: &DeskArgs,
        may_be_missing: bool,
        console: Console,
    ) -> Result<Self, Failure> {
        let settings = DeskSettings::load(&DeskOverrides {
            file: args.desk.clone(),
            may_be_missing,
            home: std::env::home_dir(),
            fleet: args.fleet.clone(),
            key: args.key.clone(),
        })?;
        Ok(Self {
            settings,
            generation: None,
            console,
        })
    }

    /// The number of what says who signs; 0: the settings, and nothing in the bucket.
    pub(in crate::ctl) fn trust_number(&self) -> u64 {
        let generation = self.generation.as_ref();
        generation.map_or(self.settings.trust_generation, |one| one.number)
    }

    pub(in crate::ctl) fn url(&self) -> Result<&BucketUrl, Failure> {
        self.settings.bucket.as_ref().ok_or_else(|| {
            Failure::new("which fleet? no bucket is named").hint(format!(
                "give --fleet s3://bucket/prefix, or write fleet = \"s3://bucket/prefix\" into {}",
                self.settings.file.display()
            ))
        })
    }

    pub(in crate::ctl) async fn bucket(&self) -> Result<Bucket, Failure> {
        Ok(Bucket::open(self.url()?, &self.settings.s3).await)
    }

    /// Who must sign.
    pub(in crate::ctl) fn trust(&self) -> Result<&Trust, Failure> {
        self.settings.trust.as_ref().ok_or_else(|| {
            Failure::new("whose signatures count? this desk does not know").hint(format!(
                "write the section [trust] of your machines' agentd.toml into {}, or trust = \"none\" where they accept unsigned documents",
                self.settings.file.display()
            ))
        })
    }
}
