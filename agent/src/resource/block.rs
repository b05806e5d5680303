//! The agent's lines within a file that others write too: found, replaced, taken out. Pure.
//!
//! Everything outside the markers stays byte for byte, whatever encoding it is in. A marker counts by its beginning (`# BEGIN node-agent`,
//! `# END node-agent`), so that the words after it may change between versions.
//!
//! Damaged markers are repaired rather than refused: a box whose `/etc/hosts` no longer follows the
//! database because someone deleted a comment line would be worse than one with a few lines too many.
//! Whatever stood between two whole markers is the agent's and goes; next to a marker that lost its
//! partner only lines that the agent is about to write anyway go, all others stay.

#[cfg(test)]
mod tests;

use super::{BLOCK_BEGIN, BLOCK_END};

const BEGIN: &str = "# BEGIN node-agent";
const END: &str = "# END node-agent";

/// How a text stands with regard to the agent's block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlockState<'a> {
    /// No marker at all.
    None,
    /// One block.
    One {
        /// What stands between the markers.
        lines: &'a [u8],
    },
    /// Markers without their partner, or more than one block: [`splice`] and [`remove`] put that right.
    Malformed(String),
}

/// The lines for a block could not stand in one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// The last line has no end.
    #[error("the last line of the block does not end with a newline")]
    Unended,
    /// A line would be taken for a marker.
    #[error("line {0} of the block looks like one of its markers")]
    Marker(usize),
}

/// What a text is made of, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part<'a> {
    /// A line that is none of the agent's, with its end.
    Outside(&'a [u8]),
    /// A whole block: what stands between the markers.
    Block(&'a [u8]),
    /// A `BEGIN` with no `END` before the next one or the end of the text. Its line number, from 1.
    Begin(usize),
    /// An `END` with no `BEGIN`. Its line number, from 1.
    End(usize),
}

/// Where the agent's block is in `text`, if it is.
pub fn find(text: &[u8]) -> BlockState<'_> {
    let parts = parts(text);
    let mut blocks = parts.iter().filter_map(|part| match part {
        Part::Block(lines) => Some(*lines),
        _ => None,
    });
    let stray = parts.iter().find_map(|part| match part {
        Part::Begin(line) => Some(format!(
            "line {line} begins the agent's block, but no line ends it"
        )),
        Part::End(line) => Some(format!(
            "line {line} ends the agent's block, but no line begins it"
        )),
        _ => None,
    });
    match (stray, blocks.next(), blocks.count()) {
        (Some(stray), ..) => BlockState::Malformed(stray),
        (None, None, _) => BlockState::None,
        (None, Some(lines), 0) => BlockState::One { lines },
        (None, Some(_), more) => {
            BlockState::Malformed(format!("the agent's block is there {} times", more + 1))
        }
    }
}

/// What stands between the markers, where there is exactly one whole block.
pub fn extract(text: &[u8]) -> Option<&[u8]> {
    match find(text) {
        BlockState::One { lines } => Some(lines),
        BlockState::None | BlockState::Malformed(_) => None,
    }
}

/// `text` with a block of exactly `lines`, each ended by a newline.
///
/// A block keeps its place. A new one goes to the top: of two lines for one name the resolver takes
/// the first, so that a stale line further down must not win. Of several blocks the first stays.
pub fn splice(text: &[u8], lines: &str) -> Result<Vec<u8>, BlockError> {
    if !lines.is_empty() && !lines.ends_with('\n') {
        return Err(BlockError::Unended);
    }
    if let Some(at) = lines
        .lines()
        .position(|line| is(line.as_bytes(), BEGIN) || is(line.as_bytes(), END))
    {
        return Err(BlockError::Marker(at + 1));
    }
    let mut parts = parts(text);
    drop_copies(&mut parts, lines);
    let place = parts
        .iter()
        .position(|part| matches!(part, Part::Block(_)))
        .or_else(|| parts.iter().position(|part| matches!(part, Part::Begin(_))))
        .unwrap_or(0);
    let (before, after) = parts.split_at_checked(place).unwrap_or((&parts, &[]));

    let mut spliced = Vec::with_capacity(text.len() + lines.len() + 128);
    push_outside(&mut spliced, before);
    for piece in [BLOCK_BEGIN, "\n", lines, BLOCK_END, "\n"] {
        spliced.extend(piece.as_bytes());
    }
    push_outside(&mut spliced, after);
    Ok(spliced)
}

/// `text` without the agent's block: what it was before the first [`splice`].
pub fn remove(text: &[u8]) -> Vec<u8> {
    let mut rest = Vec::with_capacity(text.len());
    push_outside(&mut rest, &parts(text));
    rest
}

/// The lines that are none of the agent's, each with its number in `text`, from 1.
pub fn outside(text: &[u8]) -> Vec<(usize, &[u8])> {
    let mut number = 0;
    let mut lines = Vec::new();
    for part in parts(text) {
        number += 1;
        match part {
            Part::Outside(line) => lines.push((number, line)),
            Part::Block(inside) => number += lines_of(inside).count() + 1,
            Part::Begin(_) | Part::End(_) => {}
        }
    }
    lines
}

/// The lines, each with its end.
fn lines_of(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|byte| *byte == b'\n')
}

fn parts(text: &[u8]) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    // The begin that waits for its end: its line number, where its lines start, its place in `parts`.
    let mut open: Option<(usize, usize, usize)> = None;
    let mut offset = 0;
    for (index, line) in lines_of(text).enumerate() {
        let start = offset;
        offset += line.len();
        if is(line, BEGIN) {
            open = Some((index + 1, offset, parts.len()));
            parts.push(Part::Begin(index + 1));
        } else if is(line, END) {
            match open
                .take()
                .and_then(|(_, from, place)| Some((text.get(from..start)?, place)))
            {
                Some((inside, place)) => {
                    parts.truncate(place);
                    parts.push(Part::Block(inside));
                }
                None => parts.push(Part::End(index + 1)),
            }
        } else {
            parts.push(Part::Outside(line));
        }
    }
    parts
}

/// Whether `line` is the marker that begins so. What follows must not make it another word (`node-agent-2`).
fn is(line: &[u8], marker: &str) -> bool {
    line.strip_prefix(marker.as_bytes()).is_some_and(|rest| {
        rest.first()
            .is_none_or(|next| *next == b':' || next.is_ascii_whitespace())
    })
}

/// Drops what stands next to a marker without partner and equals a line that is about to be written.
fn drop_copies(parts: &mut Vec<Part<'_>>, lines: &str) {
    let is_copy = |part: &Part<'_>| match part {
        Part::Outside(line) => {
            let line = line.trim_ascii_end();
            lines.lines().any(|ours| ours.as_bytes() == line)
        }
        _ => false,
    };
    let mut kept: Vec<Part<'_>> = Vec::with_capacity(parts.len());
    let mut after_begin = false;
    for part in parts.drain(..) {
        match part {
            Part::Outside(_) if after_begin && is_copy(&part) => continue,
            Part::End(_) => {
                while kept.last().is_some_and(is_copy) {
                    kept.pop();
                }
            }
            _ => {}
        }
        after_begin = matches!(part, Part::Begin(_));
        kept.push(part);
    }
    *parts = kept;
}

fn push_outside(text: &mut Vec<u8>, parts: &[Part<'_>]) {
    for part in parts {
        if let Part::Outside(line) = part {
            text.extend_from_slice(line);
        }
    }
}
