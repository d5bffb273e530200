//! Reads a source tree: modules, what their faces re-export, and every path between modules.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use proc_macro2::{Delimiter, Ident, Span, TokenStream, TokenTree};
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItem, Item, ItemMod, ItemUse, Macro, Meta, Token, UseTree};

/// A path that names something of this crate: `crate::proto::WSFrame` is `["proto", "WSFrame"]`.
pub(crate) type Names = Vec<String>;

/// A path that begins with `crate`, `super` or `self`, at the place where it is written.
#[derive(Clone, Debug)]
pub(crate) struct Reference {
    pub(crate) file: String,
    pub(crate) line: usize,
    /// The module that contains the reference.
    pub(crate) module: Names,
    /// The path from the crate's root; of a glob import, the module before the `*`.
    pub(crate) path: Names,
    pub(crate) is_glob: bool,
}

/// The parts of a source tree that layering depends on. Code that only tests compile is left out.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) references: Vec<Reference>,
    /// Modules with a file of their own below the root.
    pub(crate) modules: BTreeSet<String>,
    /// Modules that are written out in `lib.rs`: part of the facade.
    pub(crate) facade_modules: BTreeSet<String>,
    /// Imports of the root (key empty) and of each top-level module: name to path.
    faces: BTreeMap<String, BTreeMap<String, Names>>,
    /// Modules that only tests compile.
    test_modules: BTreeSet<Names>,
}

impl Tree {
    /// Reads all files below `root/src`. Names of files are relative to `root`.
    pub(crate) fn read(root: &Path) -> Self {
        let mut tree = Self::default();
        for source in sources(root) {
            tree.add(&source.file, &source.syntax);
        }
        tree
    }

    /// Returns `true` if only tests compile this module.
    pub(crate) fn is_for_tests(&self, module: &[String]) -> bool {
        self.test_modules.iter().any(|tests| module.starts_with(tests))
    }

    /// Returns the path that `path` leads to: re-exports of the root and of other layers are
    /// followed.
    pub(crate) fn definition(&self, path: &[String]) -> Names {
        let imported = match path {
            [name, rest @ ..] if !self.modules.contains(name) => {
                self.faces.get("").and_then(|root| root.get(name)).map(|target| (target, rest))
            }
            [module, name, rest @ ..] => {
                let target = self.faces.get(module).and_then(|face| face.get(name));
                target.filter(|target| target.first() != Some(module)).map(|target| (target, rest))
            }
            _ => None,
        };
        imported.map_or(path.to_vec(), |(target, rest)| self.definition(&[target, rest].concat()))
    }

    fn add(&mut self, file: &str, syntax: &syn::File) {
        let module = module_of(file);
        if self.is_for_tests(&module) {
            return;
        }
        if let [top, ..] = &module[..] {
            self.modules.insert(top.clone());
        }
        let children = syntax.items.iter().filter_map(|item| match item {
            Item::Mod(child) => Some(child.ident.to_string()),
            _ => None,
        });
        let children = children.collect();
        Reader { tree: self, file, module, children }.visit_file(syntax);
    }
}

/// A parsed file.
pub(crate) struct Source {
    /// The path relative to the root.
    pub(crate) file: String,
    pub(crate) text: String,
    pub(crate) syntax: syn::File,
}

/// Parses all files below `root/src`.
///
/// They are sorted by depth, so that `#[cfg(test)] mod x;` comes before the files of `x`.
pub(crate) fn sources(root: &Path) -> Vec<Source> {
    let mut files = Vec::new();
    list(&root.join("src"), &mut files);
    files.sort_by_key(|file| (file.matches('/').count(), !file.ends_with("mod.rs"), file.clone()));
    let prefix = format!("{}/", root.display());
    let parse = |path: String| {
        let text = fs::read_to_string(&path).expect("a source file can be read");
        let syntax = syn::parse_file(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
        let file = path.strip_prefix(&prefix).expect("below the root").to_owned();
        Source { file, text, syntax }
    };
    files.into_iter().map(parse).collect()
}

/// Collects the files of a folder and of those in it.
fn list(folder: &Path, files: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            list(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path.to_str().expect("a name in UTF-8").to_owned());
        }
    }
}

/// Returns the module that a file contains: `src/proto/mod.rs` and `src/proto.rs` are `proto`.
pub(crate) fn module_of(file: &str) -> Names {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    path.split('/').filter(|name| *name != "lib").map(str::to_owned).collect()
}

/// Returns `true` if an item with these attributes is compiled for tests only.
pub(crate) fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<Meta>().is_ok_and(|predicate| holds_in_tests_only(&predicate))
    })
}

fn holds_in_tests_only(predicate: &Meta) -> bool {
    let Meta::List(list) = predicate else { return predicate.path().is_ident("test") };
    let parts = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
    let parts = parts.unwrap_or_default();
    if list.path.is_ident("all") {
        parts.iter().any(holds_in_tests_only)
    } else {
        list.path.is_ident("any") && parts.iter().all(holds_in_tests_only)
    }
}

pub(crate) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Collects the references of one file.
struct Reader<'a> {
    tree: &'a mut Tree,
    file: &'a str,
    module: Names,
    /// The modules that the file declares: in its `use`, their names need no `self::`.
    children: BTreeSet<String>,
}

impl Reader<'_> {
    /// Returns the path from the root if it begins with `crate`, `super` or `self`.
    fn absolute(&self, path: &[String]) -> Option<Names> {
        let mut base = match path.first()?.as_str() {
            "crate" => Names::new(),
            "self" | "super" => self.module.clone(),
            _ => return None,
        };
        for name in path {
            match name.as_str() {
                "crate" | "self" => {}
                "super" => drop(base.pop()),
                _ => base.push(name.clone()),
            }
        }
        Some(base)
    }

    fn refer(&mut self, path: &[String], is_glob: bool, at: Span) {
        // `pub(crate)` and `self.field` are paths of one name, and no references.
        if path.len() < 2 && !is_glob {
            return;
        }
        if let Some(path) = self.absolute(path) {
            let (file, module) = (self.file.to_owned(), self.module.clone());
            let line = at.start().line;
            self.tree.references.push(Reference { file, line, module, path, is_glob });
        }
    }

    /// Notes an import of the root or of a top-level module under the name that it gets there.
    fn note_import(&mut self, path: &[String], name: &Ident) {
        let path = match path.first() {
            Some(first) if self.children.contains(first) => [&self.module[..], path].concat(),
            _ => match self.absolute(path) {
                Some(path) => path,
                None => return,
            },
        };
        let face = match &self.module[..] {
            [] => String::new(),
            [top] => top.clone(),
            _ => return,
        };
        self.tree.faces.entry(face).or_default().insert(name.to_string(), path);
    }

    fn read_use(&mut self, tree: &UseTree, path: &mut Names) {
        match tree {
            UseTree::Path(part) => {
                path.push(part.ident.to_string());
                self.read_use(&part.tree, path);
                path.pop();
            }
            UseTree::Name(part) => self.read_leaf(&part.ident, &part.ident, path),
            UseTree::Rename(part) => self.read_leaf(&part.ident, &part.rename, path),
            UseTree::Glob(part) => self.refer(path, true, part.star_token.spans[0]),
            UseTree::Group(group) => group.items.iter().for_each(|part| self.read_use(part, path)),
        }
    }

    fn read_leaf(&mut self, name: &Ident, bound_as: &Ident, path: &mut Names) {
        path.push(name.to_string());
        self.refer(path, false, name.span());
        if bound_as != "self" {
            self.note_import(path, bound_as);
        }
        path.pop();
    }

    /// Finds paths in tokens that are not parsed: bodies and arguments of macros.
    fn scan(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        for (at, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Group(group) => self.scan(group.stream()),
                TokenTree::Ident(name) if ["crate", "super", "self"].iter().any(|root| name == root) => {
                    // The `super` of `super::super` has been taken with the first one.
                    let continues = at >= 2 && is_separator(&tokens[at - 2..at]);
                    if !continues {
                        self.scan_path(&tokens[at..], &mut Names::new());
                    }
                }
                _ => {}
            }
        }
    }

    /// Reads the path, or the tree of an import, with which `tokens` begin.
    fn scan_path(&mut self, tokens: &[TokenTree], path: &mut Names) {
        let depth = path.len();
        let mut rest = tokens;
        let mut last = None;
        while let [TokenTree::Ident(name), behind @ ..] = rest {
            path.push(name.to_string());
            last = Some(name.span());
            match behind {
                [_, _, ..] if is_separator(&behind[..2]) => rest = &behind[2..],
                _ => {
                    rest = &[];
                    break;
                }
            }
        }
        match rest {
            [TokenTree::Group(group), ..] if group.delimiter() == Delimiter::Brace => {
                let parts: Vec<TokenTree> = group.stream().into_iter().collect();
                parts.split(|part| is_mark(part, ',')).for_each(|part| self.scan_path(part, path));
            }
            [star, ..] if is_mark(star, '*') => self.refer(path, true, star.span()),
            _ => {
                if let Some(last) = last {
                    self.refer(path, false, last);
                }
            }
        }
        path.truncate(depth);
    }
}

fn is_mark(token: &TokenTree, mark: char) -> bool {
    matches!(token, TokenTree::Punct(found) if found.as_char() == mark)
}

/// Returns `true` for the two tokens of `::`.
fn is_separator(tokens: &[TokenTree]) -> bool {
    tokens.iter().all(|token| is_mark(token, ':'))
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_for_tests(attributes(item)) {
            visit::visit_item(self, item);
        } else if let Item::Mod(module) = item {
            let mut tests = self.module.clone();
            tests.push(module.ident.to_string());
            self.tree.test_modules.insert(tests);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        if !matches!(item, ImplItem::Fn(item) if is_for_tests(&item.attrs)) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        let is_inline = item.content.is_some();
        if is_inline && self.module.is_empty() {
            self.tree.facade_modules.insert(item.ident.to_string());
        }
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.visit_visibility(&item.vis);
        self.read_use(&item.tree, &mut Names::new());
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            let names: Names = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            let last = path.segments.last().expect("a path has a name");
            self.refer(&names, false, last.ident.span());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast Macro) {
        self.visit_path(&item.path);
        self.scan(item.tokens.clone());
    }

    /// Doc comments name whatever they explain.
    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let Meta::List(list) = &attribute.meta {
            self.scan(list.tokens.clone());
        } else if !attribute.path().is_ident("doc") {
            visit::visit_attribute(self, attribute);
        }
    }
}
