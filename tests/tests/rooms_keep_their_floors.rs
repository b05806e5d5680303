//! The house's order, as `docs/architecture.md` has it, by the imports in `agent/src`:
//!
//! - a room imports from no higher floor than its own; the floors are read from that page's table;
//! - rooms form no circle, those of one floor neither;
//! - files within a room form no circle. What a file takes from a module that it lies in (`super::NAME`) does not count:
//!   a parent is the frame of its children. What it takes from its parent's other children does.
//!
//! A name that a module passes on (`pub use`) is counted where it is from. What is compiled for tests only is left out.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// A module's path in the crate: `["ctl", "db", "order"]`.
type Module = Vec<String>;

/// What one module imports and mentions.
#[derive(Default)]
struct Source {
    /// Names that `use` brings in, with where they are from.
    names: BTreeMap<String, Module>,
    /// All paths that begin within the crate.
    paths: BTreeSet<Module>,
    /// Children that are compiled for tests only.
    tests: BTreeSet<String>,
}

/// All modules of the crate.
struct House {
    sources: BTreeMap<Module, Source>,
}

impl House {
    /// Of files by their paths below `src`.
    fn of(files: &BTreeMap<String, String>) -> Self {
        let modules: BTreeMap<Module, &String> = files
            .iter()
            .map(|(path, text)| (module(path), text))
            .collect();
        let mut sources: BTreeMap<Module, Source> = modules
            .iter()
            .map(|(module, text)| {
                let tokens: TokenStream = text
                    .parse()
                    .unwrap_or_else(|error| panic!("{}: {error}", module.join("/")));
                let mut reader = Reader {
                    module,
                    modules: &modules,
                    source: Source::default(),
                };
                reader.read(tokens);
                (module.clone(), reader.source)
            })
            .collect();
        let tests: Vec<Module> = sources
            .iter()
            .flat_map(|(module, source)| source.tests.iter().map(|child| child_of(module, child)))
            .collect();
        sources.retain(|module, _| !tests.iter().any(|test| module.starts_with(test)));
        Self { sources }
    }

    /// The module in which what `path` names is written.
    fn home(&self, path: &[String], hops: usize) -> Option<Module> {
        let known = (0..=path.len())
            .rev()
            .find(|&length| self.sources.contains_key(&path[..length]))?;
        let (module, rest) = path.split_at(known);
        let passed_on = rest
            .split_first()
            .and_then(|(name, rest)| Some((self.sources[module].names.get(name)?, rest)));
        match passed_on {
            Some((from, rest)) if hops > 0 => {
                let path: Module = from.iter().chain(rest).cloned().collect();
                self.home(&path, hops - 1)
            }
            _ => Some(module.to_vec()),
        }
    }

    /// Which module takes from which.
    fn arrows(&self) -> BTreeSet<(Module, Module)> {
        let mut arrows = BTreeSet::new();
        for (module, source) in &self.sources {
            for path in &source.paths {
                if let Some(home) = self.home(path, 16)
                    && home != *module
                    && !home.is_empty()
                    && !module.is_empty()
                {
                    arrows.insert((module.clone(), home));
                }
            }
        }
        arrows
    }
}

/// The module that a file is.
fn module(path: &str) -> Module {
    let path = path.trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    match path {
        "lib" => Vec::new(),
        _ => path.split('/').map(str::to_owned).collect(),
    }
}

fn child_of(module: &[String], child: &str) -> Module {
    let child = child.to_owned();
    module.iter().cloned().chain([child]).collect()
}

/// Reads one file.
struct Reader<'a> {
    module: &'a Module,
    modules: &'a BTreeMap<Module, &'a String>,
    source: Source,
}

impl Reader<'_> {
    fn read(&mut self, tokens: TokenStream) {
        let trees: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while let Some(tree) = trees.get(at) {
            at += 1;
            match tree {
                TokenTree::Punct(hash) if hash.as_char() == '#' && is_for_tests(trees.get(at)) => {
                    let end = end_of_item(&trees, at + 1);
                    let words: Vec<String> =
                        trees[at + 1..end].iter().map(ToString::to_string).collect();
                    let declared = words.iter().position(|word| word == "mod");
                    if let Some(name) = declared.and_then(|at| words.get(at + 1)) {
                        self.source.tests.insert(name.clone());
                    }
                    at = end;
                }
                TokenTree::Ident(word) if word == "use" => {
                    let end = end_of_item(&trees, at);
                    self.import(&[], &trees[at..end]);
                    at = end;
                }
                TokenTree::Ident(_) => {
                    let (path, end) = path_at(&trees, at - 1);
                    if path.len() > 1
                        && let Some(path) = self.within(&path)
                    {
                        self.source.paths.insert(path);
                    }
                    at = end;
                }
                TokenTree::Group(group) => self.read(group.stream()),
                _ => {}
            }
        }
    }

    /// One `use`, or a part of it in braces, of what stands below `above`.
    fn import(&mut self, above: &[String], trees: &[TokenTree]) {
        let comma =
            |tree: &TokenTree| matches!(tree, TokenTree::Punct(sign) if sign.as_char() == ',');
        for part in trees.split(comma) {
            let (below, mut at) = match part.first() {
                Some(TokenTree::Ident(_)) => path_at(part, 0),
                _ => (Vec::new(), 0),
            };
            let path: Module = above.iter().cloned().chain(below).collect();
            // From the path's end over its last `::` to what is taken.
            while let Some(TokenTree::Punct(sign)) = part.get(at)
                && sign.as_char() == ':'
            {
                at += 1;
            }
            match part.get(at) {
                Some(TokenTree::Group(group)) => {
                    let inside: Vec<TokenTree> = group.stream().into_iter().collect();
                    self.import(&path, &inside);
                    continue;
                }
                Some(TokenTree::Punct(sign)) if sign.as_char() == '*' => {
                    self.source.paths.extend(self.within(&path));
                    continue;
                }
                _ => {}
            }
            let path = match path.split_last() {
                Some((last, above)) if last == "self" && !above.is_empty() => above.to_vec(),
                _ => path,
            };
            let renamed = part
                .iter()
                .position(|tree| tree.to_string() == "as")
                .and_then(|at| part.get(at + 1));
            let name = renamed.map_or_else(
                || path.last().cloned().unwrap_or_default(),
                ToString::to_string,
            );
            if let Some(path) = self.within(&path) {
                self.source.names.insert(name, path.clone());
                self.source.paths.insert(path);
            }
        }
    }

    /// The path from the crate's root; `None`: it is of another crate, or of a name that was imported.
    fn within(&self, path: &[String]) -> Option<Module> {
        let (first, rest) = path.split_first()?;
        let mut base = match first.as_str() {
            // The programs call the library by its name.
            "crate" | "node_agent" => Vec::new(),
            "self" => self.module.clone(),
            "super" => self.module.split_last()?.1.to_vec(),
            child => {
                let child = child_of(self.module, child);
                self.modules.contains_key(&child).then_some(child)?
            }
        };
        let ups = rest.iter().take_while(|word| *word == "super").count();
        base.truncate(base.len().saturating_sub(ups));
        base.extend(rest.iter().skip(ups).cloned());
        Some(base)
    }
}

/// Whether this is the rest of `#[cfg(test)]`.
fn is_for_tests(tree: Option<&TokenTree>) -> bool {
    matches!(tree, Some(TokenTree::Group(group)) if group.stream().to_string().replace(' ', "") == "cfg(test)")
}

/// Behind the `;` or the braces that end the item which begins at `from`.
fn end_of_item(trees: &[TokenTree], from: usize) -> usize {
    let is_use = trees
        .iter()
        .skip(from.saturating_sub(1))
        .take(1)
        .any(|tree| tree.to_string() == "use");
    let ends = |tree: &TokenTree| match tree {
        TokenTree::Punct(sign) => sign.as_char() == ';',
        TokenTree::Group(group) => !is_use && group.delimiter() == Delimiter::Brace,
        _ => false,
    };
    let length = trees.iter().skip(from).position(ends);
    length.map_or(trees.len(), |length| from + length + 1)
}

/// The path `a::b::c` that begins at `from`, and where it ends.
fn path_at(trees: &[TokenTree], from: usize) -> (Module, usize) {
    let mut path = Vec::new();
    let mut at = from;
    while let Some(TokenTree::Ident(word)) = trees.get(at) {
        path.push(word.to_string());
        at += 1;
        match (trees.get(at), trees.get(at + 1), trees.get(at + 2)) {
            (
                Some(TokenTree::Punct(first)),
                Some(TokenTree::Punct(second)),
                Some(TokenTree::Ident(_)),
            ) if first.as_char() == ':'
                && first.spacing() == Spacing::Joint
                && second.as_char() == ':' =>
            {
                at += 2;
            }
            _ => break,
        }
    }
    (path, at.max(from + 1))
}

/// Each room's floor, by the table of the page; its doors stand above all floors.
fn floors(page: &str) -> BTreeMap<String, u32> {
    let table = page
        .split("## The floors")
        .nth(1)
        .expect("the page has the table");
    let mut floors = BTreeMap::new();
    for row in table
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
    {
        let mut cells = row.split('|').skip(1).map(str::trim);
        let (Some(floor), Some(rooms)) = (cells.next(), cells.next()) else {
            panic!("a row without cells: {row}")
        };
        let floor = match floor {
            "doors" => u32::MAX,
            number => match number.parse() {
                Ok(floor) => floor,
                // The table's head.
                Err(_) => continue,
            },
        };
        for room in rooms.split('`').filter_map(|word| word.strip_suffix('/')) {
            assert_eq!(
                floors.insert(room.into(), floor),
                None,
                "{room} stands twice"
            );
        }
    }
    floors
}

/// What is out of order.
fn disorder(floors: &BTreeMap<String, u32>, house: &House) -> Vec<String> {
    let mut found = Vec::new();
    let rooms: BTreeSet<&String> = house
        .sources
        .keys()
        .filter_map(|module| module.first())
        .collect();
    for room in &rooms {
        if !floors.contains_key(*room) {
            found.push(format!("the room {room} has no floor"));
        }
    }
    for room in floors.keys() {
        if !rooms.contains(room) {
            found.push(format!("there is no room {room}"));
        }
    }
    let arrows = house.arrows();
    let mut between_rooms = BTreeSet::new();
    let mut between_files = BTreeSet::new();
    for (from, to) in &arrows {
        if from[0] == to[0] {
            if !from.starts_with(to) {
                between_files.insert((from.join("/"), to.join("/")));
            }
            continue;
        }
        between_rooms.insert((from[0].clone(), to[0].clone()));
        if floors.get(&from[0]) < floors.get(&to[0]) {
            let (from, to) = (from.join("/"), to.join("/"));
            found.push(format!("{from} imports from a higher floor: {to}"));
        }
    }
    found.extend(circle(&between_rooms).map(|rooms| format!("rooms in a circle: {rooms}")));
    for room in rooms {
        let inside = format!("{room}/");
        let within: BTreeSet<_> = between_files
            .iter()
            .filter(|(from, _)| from.starts_with(&inside))
            .cloned()
            .collect();
        found.extend(circle(&within).map(|files| format!("files in a circle: {files}")));
    }
    found
}

/// One shortest circle, if there is any: `a -> b -> a`.
fn circle(arrows: &BTreeSet<(String, String)>) -> Option<String> {
    let mut next: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (from, to) in arrows {
        next.entry(from).or_default().push(to);
    }
    let shortest = |start: &str| -> Option<Vec<String>> {
        let mut before: BTreeMap<&str, &str> = BTreeMap::new();
        let mut layer = vec![start.to_owned()];
        while !layer.is_empty() {
            let mut following = Vec::new();
            for file in &layer {
                let Some((&file, targets)) = next.get_key_value(file.as_str()) else {
                    continue;
                };
                for &target in targets {
                    if target == start {
                        let mut way = vec![target.to_owned(), file.to_owned()];
                        let mut at = file;
                        while let Some(&earlier) = before.get(at) {
                            way.push(earlier.to_owned());
                            at = earlier;
                        }
                        way.reverse();
                        return Some(way);
                    }
                    if !before.contains_key(target) {
                        before.insert(target, file);
                        following.push(target.to_owned());
                    }
                }
            }
            layer = following;
        }
        None
    };
    next.keys()
        .filter_map(|start| shortest(start))
        .min_by_key(Vec::len)
        .map(|way| way.join(" -> "))
}

fn read_below(dir: &Path, prefix: &str, files: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type().unwrap().is_dir() {
            read_below(&entry.path(), &format!("{name}/"), files);
        } else if Path::new(&name).extension().is_some_and(|end| end == "rs") {
            files.insert(name, std::fs::read_to_string(entry.path()).unwrap());
        }
    }
}

#[test]
fn the_rooms_of_the_agent_keep_their_floors_and_nothing_stands_in_a_circle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(root.join("docs/architecture.md")).unwrap();
    let floors = floors(&page);
    let mut files = BTreeMap::new();
    read_below(&root.join("agent/src"), "", &mut files);
    let house = House::of(&files);
    // A reader that sees no imports would find everything in order.
    assert!(house.arrows().len() > 500, "{}", house.arrows().len());
    let found = disorder(&floors, &house);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// What is out of order in a house of two floors: `below` under `above` and `beside`.
fn made_up(files: &[(&str, &str)]) -> Vec<String> {
    let page = "## The floors\n\nText.\n\n| floor | rooms | what |\n|---|---|---|\n\
        | 2 | `above/`, `beside/` | `not/` these |\n| 1 | `below/` | x |\n\n| 9 | `other/` | |\n";
    let mut all: BTreeMap<String, String> = ["above/mod.rs", "beside/mod.rs", "below/mod.rs"]
        .map(|path| (path.to_owned(), String::new()))
        .into();
    all.extend(
        files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), (*text).to_owned())),
    );
    disorder(&floors(page), &House::of(&all))
}

#[test]
fn what_is_in_order_is_not_told() {
    let files = [
        ("lib.rs", "pub mod above; pub mod below;"),
        (
            "above/mod.rs",
            "mod one; mod two; pub use one::One; use crate::below::thing; #[cfg(test)] mod tests;",
        ),
        // Of the parent, of a sibling, and of a room below, in words that only look like more.
        (
            "above/one.rs",
            "//! [`crate::beside::Thing`]\nuse super::two::Two; use super::LIMIT; fn f() { \"crate::beside::x\"; std::fs::x() } \
             #[cfg(test)] mod tests { use crate::beside::X; use super::super::tests::y; }",
        ),
        ("above/two.rs", "pub struct Two; // use super::one::One;\n"),
        (
            "above/tests.rs",
            "use crate::beside::x; use super::one::One;",
        ),
        ("beside/mod.rs", "use crate::{above::{self, One}, below};"),
        (
            "below/mod.rs",
            "pub fn thing() {} #[cfg(test)] use crate::above::One;",
        ),
    ];
    assert_eq!(made_up(&files), [""; 0]);
}

#[test]
fn an_import_from_a_higher_floor_is_told() {
    let told = ["below/deep/x imports from a higher floor: above"];
    for text in [
        "use crate::above::Thing;",
        "use crate::{system, above::{Thing, other as else_}};",
        "pub(crate) use crate::above::*;",
        "fn f() -> u8 { let x = crate::above::thing(); x }",
        "fn f() { format!(\"{}\", super::super::super::above::thing()); }",
        "use {std::fmt, super::super::super::above};",
        "#[cfg(not(test))] use crate::above::Thing;",
    ] {
        assert_eq!(
            made_up(&[("below/deep/x.rs", text), ("below/deep/mod.rs", "")]),
            told,
            "{text}"
        );
    }
    let by_its_name = made_up(&[("below/x.rs", "use node_agent::above::Thing;")]);
    assert_eq!(by_its_name, ["below/x imports from a higher floor: above"]);
}

#[test]
fn a_room_without_a_floor_and_a_floor_without_its_room_are_told() {
    assert_eq!(
        made_up(&[("new/mod.rs", "")]),
        ["the room new has no floor"]
    );
    let floors = BTreeMap::from([("gone".to_owned(), 1)]);
    let house = House::of(&BTreeMap::new());
    assert_eq!(disorder(&floors, &house), ["there is no room gone"]);
}

#[test]
fn rooms_of_one_floor_that_import_from_each_other_are_told() {
    let found = made_up(&[
        ("above/x.rs", "use crate::beside::Thing;"),
        ("beside/y.rs", "use crate::above::Thing;"),
    ]);
    assert_eq!(found, ["rooms in a circle: above -> beside -> above"]);
}

#[test]
fn files_of_a_room_in_a_circle_are_told() {
    let direct = [
        ("above/one.rs", "use super::two::Two;"),
        ("above/two.rs", "use super::one;"),
    ];
    assert_eq!(
        made_up(&direct),
        ["files in a circle: above/one -> above/two -> above/one"]
    );
    // Through what the parent passes on, and through a child.
    let passed_on = [
        (
            "above/mod.rs",
            "mod one; mod two; pub use one::One; use self::two::Two;",
        ),
        ("above/one.rs", "use super::Two;"),
        ("above/two/mod.rs", "mod child; fn f() { child::g() }"),
        ("above/two/child.rs", "pub fn g() { crate::above::One }"),
    ];
    assert_eq!(
        made_up(&passed_on),
        ["files in a circle: above/one -> above/two -> above/two/child -> above/one"]
    );
}
