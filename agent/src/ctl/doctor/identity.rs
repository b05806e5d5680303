//! Which server of the document this box is.

use super::examined_box::ExaminedBox;
use super::finding::Findings;

pub fn check(examined: &ExaminedBox, found: &mut Findings) {
    match examined.bucket_state().map(|bucket_state| &bucket_state.identity) {
        Some(Some(Err(why))) => found.broken(
            why.clone(),
            "a box without a name in the document is left as it is; what is asked for stands in agentd.toml under [identity]",
        ),
        Some(Some(Ok(_))) => {}
        Some(None) => found.skip("there is no document yet"),
        None => found.skip("the configuration cannot be used"),
    }
}
