//! Places in a text, as people count them.

/// Line and column (in characters) of a place in the text, both from 1.
pub(super) fn line_column(text: &str, offset: usize) -> (u32, u32) {
    let mut position = Position::default();
    position.pass(text.as_bytes().get(..offset).unwrap_or(text.as_bytes()));
    position.counted()
}

/// So many bytes of a text lie between two places of which the position is remembered.
const STRIDE: usize = 64 * 1024;

/// Positions in one text, many of them: each is counted from the nearest one before it, and not from the beginning.
pub(super) struct Positions<'t> {
    text: &'t [u8],
    /// The positions at multiples of the stride, as far as one was asked for.
    known: Vec<Position>,
}

/// How much stands before a place.
#[derive(Debug, Clone, Copy, Default)]
struct Position {
    lines: usize,
    /// In its line.
    characters: usize,
}

impl Position {
    /// Goes on over these bytes.
    fn pass(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' {
                self.lines += 1;
                self.characters = 0;
            } else if byte & 0b1100_0000 != 0b1000_0000 {
                // All but the later bytes of a character.
                self.characters += 1;
            }
        }
    }

    fn counted(self) -> (u32, u32) {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).saturating_add(1);
        (count(self.lines), count(self.characters))
    }
}

impl<'t> Positions<'t> {
    pub const fn new(text: &'t str) -> Self {
        Self {
            text: text.as_bytes(),
            known: Vec::new(),
        }
    }

    /// See [`line_column`].
    pub fn of(&mut self, offset: usize) -> (u32, u32) {
        let offset = offset.min(self.text.len());
        while self.known.len() <= offset / STRIDE {
            let next = self.known.last().map_or_else(Position::default, |last| {
                let from = (self.known.len() - 1) * STRIDE;
                let mut next = *last;
                next.pass(self.text.get(from..from + STRIDE).unwrap_or_default());
                next
            });
            self.known.push(next);
        }
        let nearest = offset / STRIDE;
        let mut position = self.known.get(nearest).copied().unwrap_or_default();
        let rest = self.text.get(nearest * STRIDE..offset);
        position.pass(rest.unwrap_or_default());
        position.counted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_counted_from_the_nearest_one_that_is_known() {
        let text = "ä\nxyz é\n".repeat(30_000);
        let mut positions = Positions::new(&text);
        for (offset, position) in [
            (200_000, None),
            (0, Some((1, 1))),
            (2, Some((1, 2))),
            (3, Some((2, 1))),
            (STRIDE - 1, None),
            (STRIDE, None),
            (text.len(), Some((60_001, 1))),
            (text.len() + 9, Some((60_001, 1))),
        ] {
            let counted = positions.of(offset);
            assert_eq!(counted, line_column(&text, offset), "{offset}");
            assert_eq!(counted, position.unwrap_or(counted), "{offset}");
        }
    }
}
