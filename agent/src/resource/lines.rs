//! Text under construction that remembers who asked for which line.

use crate::fleet::Pointer;
use crate::resource::LineOrigin;

/// Lines, and where in the document some of them come from.
#[derive(Debug, Clone, Default)]
pub(super) struct Lines {
    text: String,
    count: u32,
    origins: Vec<LineOrigin>,
}

impl Lines {
    /// Adds text of one or more lines that nobody in particular asked for.
    pub(super) fn add(&mut self, text: &str) {
        for line in text.lines() {
            self.text.push_str(line);
            self.text.push('\n');
            self.count = self.count.saturating_add(1);
        }
    }

    /// Adds one line that `origin` asks for.
    pub(super) fn add_for(&mut self, origin: Pointer, line: &str) {
        self.add(line);
        self.origins.push(LineOrigin {
            line: Some(self.count),
            pointer: origin,
        });
    }

    /// Adds other lines with their origins.
    pub(super) fn append(&mut self, other: Self) {
        self.text.push_str(&other.text);
        self.origins
            .extend(other.origins.into_iter().map(|origin| LineOrigin {
                line: origin.line.map(|line| line.saturating_add(self.count)),
                ..origin
            }));
        self.count = self.count.saturating_add(other.count);
    }

    /// The text so far, each line ended by a newline.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The text, and the origins with `whole` as that of everything else.
    pub(super) fn finish(
        self,
        whole: impl IntoIterator<Item = Pointer>,
    ) -> (String, Vec<LineOrigin>) {
        let mut origins: Vec<_> = whole
            .into_iter()
            .map(|pointer| LineOrigin {
                line: None,
                pointer,
            })
            .collect();
        origins.extend(self.origins);
        (self.text, origins)
    }
}
