//! What snapshots are asked for and this version does not do.

use super::Advice;
use crate::fleet::model::Fleet;
use crate::fleet::pointer::Pointer;

/// Adds what is worth a second look in the snapshots of `fleet`.
pub(super) fn advise(fleet: &Fleet, advice: &mut Vec<Advice>) {
    for (name, product) in &fleet.products {
        let snapshots =
            (product.database.as_ref()).and_then(|database| database.snapshots.as_ref());
        let Some(snapshots) = snapshots.filter(|snapshots| snapshots.archive) else {
            continue;
        };
        let at = [
            "signed",
            "products",
            name.as_str(),
            "database",
            "snapshots",
            "archive",
        ];
        advice.push(Advice {
            pointer: Pointer::of(at),
            message: format!(
                "this version of node-agent ({}) keeps snapshots and no archive between them: should all servers of the chain be lost at once, so are the \
                 last {} of what was committed",
                env!("CARGO_PKG_VERSION"),
                snapshots.every
            ),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_that_is_not_kept_is_told() {
        let fleet = |archive: &str| -> Fleet {
            let json = format!(
                r#"{{"format": 1, "fleet": "f", "version": 1, "issued": "2026-01-01T00:00:00Z", "expires": "2027-01-01T00:00:00Z", "servers": {{}},
                    "products": {{"shop": {{"database": {{"chain": ["db-1"], "snapshots": {{"server": "db-2", "every": "15m"{archive}}}}}}}}}}}"#
            );
            serde_json::from_str(&json).unwrap()
        };
        let mut advice = Vec::new();
        advise(&fleet(""), &mut advice);
        assert_eq!(advice, []);
        advise(&fleet(r#", "archive": true"#), &mut advice);
        let [one] = advice.as_slice() else {
            panic!("{advice:?}");
        };
        assert!(one.message.contains("last 15m"), "{}", one.message);
        assert!(one.pointer.0.ends_with("/snapshots/archive"));
    }
}
