//! Who signs now: from the keys of the desk's settings, one `trust/N.json` of the bucket after the other, as machines find it.

use super::super::failure::Failure;
use super::desk::Desk;
use super::published;
use crate::fleet::signing::{Generation, Trust};

impl Desk {
    /// Finds who signs now, as machines do: from the keys of the settings, one `trust/N.json` after the other.
    pub(in crate::ctl) async fn walk(&mut self) -> Result<(), Failure> {
        let bucket = self.bucket().await?;
        while let Some(Trust::Keys(keyring)) = &self.settings.trust {
            let number = self.trust_number().saturating_add(1);
            let key = Generation::object(number);
            let Some((bytes, _)) = published::get(&bucket, &key).await? else {
                break;
            };
            let fleet = self.settings.fleet_name.as_ref();
            let generation = Generation::read(&bytes, number, keyring, fleet).map_err(|error| {
                Failure::because(format!("machines do not follow {}", bucket.url(&key)), error).hint(
                    "somebody else put it there, or your desk.toml has the wrong keys in [trust]: compare them with agentd.toml of a machine",
                )
            })?;
            self.settings.trust = Some(Trust::Keys(generation.keyring.clone()));
            self.settings.version_step = generation
                .version_step
                .unwrap_or(self.settings.version_step);
            self.generation = Some(generation);
        }
        Ok(())
    }
}
