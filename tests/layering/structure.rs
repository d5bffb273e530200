//! Limits on the size of files and functions, and on how far a type is spread over files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use syn::visit::{self, Visit};
use syn::{Block, Ident, ImplItemFn, Item, ItemFn, ItemImpl, ItemStruct, Signature, TraitItemFn, Type};
use syn::{ItemEnum, Visibility};

use super::repository;
use super::tree::{Names, Source, Tree, attributes, is_for_tests, module_of, sources};

/// Types that break a rule today. An entry that is no longer needed fails the test, too.
const EXCEPTIONS: [&str; 0] = [];

/// Types whose fields only the defining module and its children may use: layer and name.
const PRIVATE_FIELDS: [(&str, &str); 3] =
    [("connection", "Conn"), ("runtime", "LoopCore"), ("proto", "Connection")];

/// The most of each that the project allows.
struct Limits {
    file_lines: usize,
    function_lines: usize,
    /// Files with an inherent `impl` of one type.
    impl_files: usize,
}

const LIMITS: Limits = Limits { file_lines: 600, function_lines: 75, impl_files: 3 };

/// A broken rule, and the type that breaks it if the rule is one for types.
struct Violation {
    of_type: Option<String>,
    line: String,
}

/// A type at the place of its definition or of an inherent `impl`: module and name.
type Place = (Names, String);

/// The parts of a source tree that the rules depend on.
#[derive(Default)]
struct Found {
    types: Vec<Place>,
    impls: Vec<Place>,
    violations: Vec<Violation>,
}

/// Reads one file.
struct Reader<'a> {
    found: &'a mut Found,
    file: &'a str,
    limits: &'a Limits,
    module: Names,
    /// The part of the file that is read now is compiled for tests only.
    in_tests: bool,
}

impl Reader<'_> {
    fn report(&mut self, line: usize, of_type: Option<&Ident>, what: &str) {
        let line = format!("{}:{line}: {what}", self.file);
        self.found.violations.push(Violation { of_type: of_type.map(Ident::to_string), line });
    }

    /// Counts the lines of a function from its name to its closing brace.
    fn measure(&mut self, signature: &Signature, body: &Block) {
        let first = signature.ident.span().start().line;
        let lines = body.brace_token.span.close().end().line - first + 1;
        if lines > self.limits.function_lines {
            self.report(first, None, &format!("{} has {lines} lines", signature.ident));
        }
    }

    fn define(&mut self, name: &Ident) {
        if !self.in_tests {
            self.found.types.push((self.module.clone(), name.to_string()));
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let outside = self.in_tests;
        self.in_tests |= is_for_tests(attributes(item));
        visit::visit_item(self, item);
        self.in_tests = outside;
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.measure(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        self.measure(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast TraitItemFn) {
        if let Some(body) = &item.default {
            self.measure(&item.sig, body);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast ItemEnum) {
        self.define(&item.ident);
    }

    fn visit_item_struct(&mut self, item: &'ast ItemStruct) {
        self.define(&item.ident);
        let layer = self.module.first().cloned().unwrap_or_default();
        let is_private = |of: &(&str, &str)| of.0 == layer && item.ident == of.1;
        if !PRIVATE_FIELDS.iter().any(is_private) {
            return;
        }
        for field in &item.fields {
            if let (Some(name), false) = (&field.ident, matches!(field.vis, Visibility::Inherited)) {
                let what = format!("{}::{name} is visible outside of its module", item.ident);
                self.report(name.span().start().line, Some(&item.ident), &what);
            }
        }
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        if let (None, Type::Path(path), false) = (&item.trait_, &*item.self_ty, self.in_tests) {
            let name = &path.path.segments.last().expect("a path has a name").ident;
            self.found.impls.push((self.module.clone(), name.to_string()));
        }
        visit::visit_item_impl(self, item);
    }
}

/// Returns the definition that an `impl` belongs to: of types with the same name the nearest one.
fn definition<'a>(types: &'a [Place], (module, name): &Place) -> Option<&'a Place> {
    let shared = |other: &Names| module.iter().zip(other).take_while(|(a, b)| a == b).count();
    let of_that_name = types.iter().filter(|(_, other)| other == name);
    of_that_name.max_by_key(|(other, _)| (shared(other), std::cmp::Reverse(other.len())))
}

/// Returns everything below `root/src` that is larger, or spread wider, than the limits allow.
fn violations(root: &Path, limits: &Limits) -> Vec<Violation> {
    let tree = Tree::read(root);
    let mut found = Found::default();
    for Source { file, text, syntax } in &sources(root) {
        let module = module_of(file);
        let in_tests = tree.is_for_tests(&module);
        let mut reader = Reader { found: &mut found, file, limits, module, in_tests };
        let lines = text.lines().count();
        if lines > limits.file_lines {
            reader.report(lines, None, "the file is too long");
        }
        reader.visit_file(syntax);
    }
    let Found { types, impls, mut violations } = found;
    let mut files: BTreeMap<&Place, BTreeSet<&Names>> = BTreeMap::new();
    for place in &impls {
        if let Some(of) = definition(&types, place) {
            files.entry(of).or_default().insert(&place.0);
        }
    }
    for ((module, name), files) in files.iter().filter(|(_, files)| files.len() > limits.impl_files) {
        let line = format!("{}::{name} has inherent impls in {} files", module.join("::"), files.len());
        violations.push(Violation { of_type: Some(name.clone()), line });
    }
    violations
}

/// Returns one line per violation that is no exception, and per exception without a violation.
fn faults(violations: &[Violation], exceptions: &[&str]) -> String {
    let is_of = |violation: &Violation, name: &str| violation.of_type.as_deref() == Some(name);
    let excepted = |violation: &&Violation| exceptions.iter().any(|name| is_of(violation, name));
    let wrong = violations.iter().filter(|violation| !excepted(violation));
    let unneeded =
        exceptions.iter().filter(|name| !violations.iter().any(|violation| is_of(violation, name)));
    let lines = wrong.map(|violation| violation.line.clone());
    lines
        .chain(unneeded.map(|name| format!("{name} is no exception any more")))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn files_functions_and_types_keep_to_the_limits() {
    let faults = faults(&violations(repository(), &LIMITS), &EXCEPTIONS);
    assert!(faults.is_empty(), "{faults}");
}

#[test]
fn each_kind_of_excess_is_reported() {
    let root = repository().join("tests/layering/structure_fixture");
    let limits = Limits { file_lines: 30, function_lines: 4, impl_files: 2 };
    let expected = fs::read_to_string(root.join("expected.txt")).expect("the file is there");
    assert_eq!(faults(&violations(&root, &limits), &["LoopCore", "Named"]), expected.trim_end());
}
