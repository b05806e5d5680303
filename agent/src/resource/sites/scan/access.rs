//! Whether a section closes everything to everybody in the words of Apache 2.2 (`mod_access_compat`): these stand beside
//! `Require`, so that no `Require all granted` of a site opens what they close.

use std::path::Path;

use super::Place;

/// What a section says of access.
#[derive(Debug, Default)]
pub(super) struct Access {
    /// It is about a part only, in which the agent's own files lie: it can open them again.
    is_part: bool,
    /// `Order Allow,Deny`: who is not allowed is denied, whatever else is said.
    allow_first: bool,
    /// What closes it.
    closes: Option<(Place, String)>,
    /// Somebody is allowed.
    allows: bool,
    /// `Satisfy Any`: `Require` alone may let somebody in.
    any: bool,
    /// It says anything of this kind.
    speaks: bool,
}

impl Access {
    /// Of a section that all sites, or the agent's own files, lie under. `None`: it is another one.
    pub(super) fn of(section: &str, arguments: &[String], own: &Path) -> Option<Self> {
        let [argument] = arguments else {
            return None;
        };
        let path = argument.trim_end_matches('>');
        let is_part = match (section, path) {
            ("directory" | "location", "/") => false,
            ("directory", path) if path.starts_with('/') && own.starts_with(path) => true,
            _ => return None,
        };
        Some(Self {
            is_part,
            ..Self::default()
        })
    }

    /// Notes a directive of the section. `text`: the whole line.
    pub(super) fn directive(
        &mut self,
        name: &str,
        arguments: &[String],
        text: &str,
        place: impl FnOnce() -> Place,
    ) {
        let says = |words: [&str; 2]| {
            arguments.len() == 2
                && (arguments.iter().zip(words)).all(|(one, word)| one.eq_ignore_ascii_case(word))
        };
        let order = || arguments.concat().to_ascii_lowercase();
        match name {
            "order" => {
                self.allow_first = order() == "allow,deny";
                if self.allow_first && self.closes.is_none() {
                    self.closes = Some((place(), text.to_owned()));
                }
            }
            "deny" if says(["from", "all"]) => self.closes = Some((place(), text.to_owned())),
            "allow" => self.allows = true,
            "satisfy" => {
                self.any = arguments
                    .iter()
                    .any(|word| word.eq_ignore_ascii_case("any"));
            }
            "deny" => {}
            _ => return,
        }
        self.speaks = true;
    }

    /// The section has ended: what follows from it for everything.
    pub(super) fn told(self, closed: &mut Option<(Place, String)>) {
        if !self.speaks {
            return;
        }
        let closes = self.closes.filter(|_| !self.allows && !self.any);
        if self.is_part {
            // The more special section counts, whatever it says: what it closes is the agent's own, and the probes tell.
            *closed = None;
        } else {
            *closed = closes;
        }
    }
}
