//! Which server of the document this box is.

use super::finding::Findings;
use super::patient::Patient;

pub fn check(patient: &Patient, found: &mut Findings) {
    match patient.consulted().map(|consulted| &consulted.identity) {
        Some(Some(Err(why))) => found.broken(
            why.clone(),
            "a box without a name in the document is left as it is; what is asked for stands in agentd.toml under [identity]",
        ),
        Some(Some(Ok(_))) => {}
        Some(None) => found.skip("there is no document yet"),
        None => found.skip("the configuration cannot be used"),
    }
}
