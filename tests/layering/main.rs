//! Layers import downward only, and imports name the module that defines what they import. Files,
//! functions and types keep to the sizes in `structure`.
//!
//! `LAYERS=write cargo test --test layering` writes the graph of modules into `ARCHITECTURE.md`.

mod structure;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

use tree::{Reference, Tree};

/// The layers from the bottom. Each may import from those before it.
///
/// `lib.rs` is the facade above all of them. `manual` contains documentation only.
const ORDER: [&str; 19] = [
    "mask",
    "buf",
    "sys",
    "proto",
    "deflate",
    "handshake",
    "tls",
    "net",
    "runtime",
    "connection",
    "server",
    "client",
    "messages",
    "websocket",
    "topics",
    "compat",
    "testkit",
    "manual",
    "lib",
];

fn rank(module: &str) -> Option<usize> {
    ORDER.iter().position(|known| *known == module)
}

/// Returns what is wrong with a reference.
fn fault(tree: &Tree, reference: &Reference) -> Option<String> {
    let Reference { module, path, is_glob, .. } = reference;
    let (from, written) = (module.first()?, format!("crate::{}", path.join("::")));
    if tree.facade_modules.contains(from) {
        return None;
    }
    let top = path.first().map_or("lib", String::as_str);
    let wrong = |what: &str| Some(format!("{what}: {written}"));
    let definition = tree.definition(path);
    if definition != *path {
        return wrong(&format!("is a re-export of crate::{}", definition.join("::")));
    }
    if tree.facade_modules.contains(top) || path.is_empty() {
        return wrong("names the facade");
    }
    if *is_glob {
        return wrong("imports everything");
    }
    let Some((from_rank, to_rank)) = rank(from).zip(rank(top)) else {
        return wrong("has no place in the order");
    };
    if from_rank < to_rank {
        return wrong(&format!("{from} is below {top}"));
    }
    None
}

/// Returns one line per violation.
fn violations(tree: &Tree) -> Vec<String> {
    let mut lines = BTreeMap::new();
    for reference in &tree.references {
        let Some(what) = fault(tree, reference) else { continue };
        let Reference { file, line, .. } = reference;
        lines.insert((file, line, what.clone()), format!("{file}:{line}: {what}"));
    }
    lines.into_values().collect()
}

/// Returns the graph of modules: each with those that it imports from.
fn graph(tree: &Tree) -> String {
    let mut edges: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for reference in &tree.references {
        let target = tree.definition(&reference.path);
        if let Some((from, to)) = reference.module.first().zip(target.into_iter().next())
            && *from != to
        {
            edges.entry(from).or_default().insert(to);
        }
    }
    let by_rank = |module: &&str| rank(module);
    let mut modules: Vec<&str> = tree.modules.iter().map(String::as_str).collect();
    modules.sort_by_key(by_rank);
    let mut text = String::new();
    for module in modules {
        let mut below: Vec<&str> = edges.get(module).into_iter().flatten().map(String::as_str).collect();
        below.sort_by_key(by_rank);
        let line = format!("{module:<10}  {}", below.join(", "));
        writeln!(text, "{}", line.trim_end()).expect("a string grows");
    }
    text
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn layers_import_downward_from_the_defining_module() {
    let tree = Tree::read(repository());
    assert!(tree.references.len() > 500, "{} references: are all files read?", tree.references.len());
    let lines = violations(&tree);
    assert!(lines.is_empty(), "{} violations\n{}", lines.len(), lines.join("\n"));
}

#[test]
fn every_module_has_a_place_in_the_order() {
    let tree = Tree::read(repository());
    let unplaced: Vec<_> = tree.modules.iter().filter(|module| rank(module).is_none()).collect();
    assert!(unplaced.is_empty(), "{unplaced:?}");
}

#[test]
fn each_kind_of_violation_is_reported_with_file_and_line() {
    let root = repository().join("tests/layering/fixture");
    let tree = Tree::read(&root);
    let lines = violations(&tree);
    let expected = fs::read_to_string(root.join("expected.txt")).expect("the file is there");
    assert_eq!(lines.join("\n"), expected.trim_end());
}

#[test]
fn architecture_shows_the_graph_of_modules() {
    const BEGIN: &str = "<!-- modules: written by `LAYERS=write cargo test --test layering` -->\n```text\n";
    const END: &str = "```\n<!-- end of modules -->";
    let page = repository().join("ARCHITECTURE.md");
    let text = fs::read_to_string(&page).expect("the page is there");
    let (before, rest) = text.split_once(BEGIN).expect("the page has the mark of the beginning");
    let (shown, after) = rest.split_once(END).expect("the page has the mark of the end");
    let graph = graph(&Tree::read(repository()));
    if env::var("LAYERS").is_ok_and(|what| what == "write") {
        fs::write(page, [before, BEGIN, &graph, END, after].concat()).expect("the page can be written");
    } else {
        assert_eq!(shown, graph, "run LAYERS=write cargo test --test layering");
    }
}
