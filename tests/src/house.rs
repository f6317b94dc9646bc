// SPDX-License-Identifier: GPL-3.0-or-later
//! Measures the structure of the Rust sources: imports between modules and their circles, the
//! length and the parameters of functions, documented functions, widths of lines.
//! `tests/tests/house.rs` holds the limits, and `make figures` prints the figures of
//! docs/decisions.md.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::spanned::Spanned;
use syn::visit::Visit;

/// Maximum length of a function, lines, from its signature to its closing brace.
pub const FUNCTION_LINES_MAX: usize = 100;
/// Maximum number of a function's parameters, its receiver included.
pub const PARAMETERS_MAX: usize = 6;
/// Maximum width of a line, columns.
pub const COLUMNS_MAX: usize = 100;

/// A function with its measurements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// `file:line name`.
    pub place: String,
    /// Lines from the signature to the closing brace.
    pub lines: usize,
    /// Parameters, the receiver included.
    pub parameters: usize,
    /// Whether other modules can see it.
    pub public: bool,
    /// Whether it has a doc comment.
    pub documented: bool,
}

/// One crate's modules: which file imports which.
#[derive(Debug, Default)]
pub struct House {
    /// File to the files that it names in imports and paths, outside of its unit tests.
    pub imports: BTreeMap<String, BTreeSet<String>>,
    /// Every function outside of unit tests.
    pub functions: Vec<Function>,
    /// `file:line` of every `#[allow(…)]` outside of unit tests.
    pub allows: Vec<String>,
}

/// The folders of production code, relative to the project's root.
pub fn crate_folders(root: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = ["wyngd", "wyng-ctl", "wyng-transport-vm"]
        .iter()
        .map(|name| root.join(name))
        .collect();
    let mut crates: Vec<PathBuf> = std::fs::read_dir(root.join("crates"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    crates.sort();
    folders.append(&mut crates);
    folders
}

/// Measures the crate in `folder`; file names are relative to `root`.
pub fn measure(root: &Path, folder: &Path) -> House {
    let mut files = BTreeMap::new();
    list_modules(&folder.join("src"), &mut Vec::new(), &mut files);
    let mut modules = BTreeMap::new();
    let (mut functions, mut allows) = (Vec::new(), Vec::new());
    for (module, path) in files {
        let file = path.strip_prefix(root).unwrap().display().to_string();
        let parsed = syn::parse_file(&std::fs::read_to_string(&path).unwrap())
            .unwrap_or_else(|error| panic!("{file}: {error}"));
        let mut visitor = Visitor {
            file: &file,
            ..Visitor::default()
        };
        visitor.visit_file(&parsed);
        functions.append(&mut visitor.functions);
        allows.append(&mut visitor.allows);
        let Visitor {
            paths, reexports, ..
        } = visitor;
        modules.insert(
            module,
            Module {
                file,
                paths,
                reexports,
            },
        );
    }
    let imports = modules
        .iter()
        .map(|(path, module)| (module.file.clone(), imports_of(path, &modules)))
        .collect();
    House {
        imports,
        functions,
        allows,
    }
}

/// Every Rust source of the project, tests included: below `root`, without hidden folders and
/// `target`.
pub fn rust_sources(root: &Path) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && !name.starts_with('.') && name != "target" {
                open.push(path);
            } else if name.ends_with(".rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// One file: the paths that it names, and the names that it re-exports.
struct Module {
    file: String,
    /// Paths in imports and in code.
    paths: BTreeSet<Vec<String>>,
    /// Name to the path that `pub use` gives it. A re-export is no import.
    reexports: BTreeMap<String, Vec<String>>,
}

type Modules = BTreeMap<Vec<String>, Module>;

/// The files that a module imports: each path leads to the file that defines the name, through
/// re-exports.
fn imports_of(path: &[String], modules: &Modules) -> BTreeSet<String> {
    let named = modules[path]
        .paths
        .iter()
        .filter_map(|named| resolve(named, path, modules, 0));
    named.filter(|file| *file != modules[path].file).collect()
}

/// Module path (empty: the crate's root) to its file.
fn list_modules(folder: &Path, path: &mut Vec<String>, files: &mut BTreeMap<Vec<String>, PathBuf>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for entry in entries {
        let stem = entry.file_stem().unwrap().to_str().unwrap().to_owned();
        if entry.is_dir() {
            path.push(stem);
            list_modules(&entry, path, files);
            path.pop();
        } else if entry.extension().is_some_and(|extension| extension == "rs") && stem != "main" {
            let mut module = path.clone();
            if !matches!(stem.as_str(), "mod" | "lib") {
                module.push(stem);
            }
            files.insert(module, entry);
        }
    }
}

/// The file that defines what `path` names within `module`; `None` for a foreign crate.
fn resolve(path: &[String], module: &[String], modules: &Modules, depth: usize) -> Option<String> {
    let mut place: Vec<String> = module.to_vec();
    let mut rest = path;
    match path.first()?.as_str() {
        "crate" => {
            place.clear();
            rest = &path[1..];
        }
        "self" => rest = &path[1..],
        "super" => {
            while rest.first().is_some_and(|part| part == "super") {
                place.pop();
                rest = &rest[1..];
            }
        }
        first => {
            let child: Vec<String> = place.iter().cloned().chain([first.to_owned()]).collect();
            // A single name that is a module's is a variable of that name.
            let is_child = path.len() > 1 && modules.contains_key(&child);
            if !is_child && !modules[module].reexports.contains_key(first) {
                return None;
            }
        }
    }
    while let Some(next) = rest.first() {
        let child: Vec<String> = place.iter().cloned().chain([next.clone()]).collect();
        if modules.contains_key(&child) {
            place = child;
            rest = &rest[1..];
        } else if let Some(meant) = modules
            .get(&place)?
            .reexports
            .get(next)
            .filter(|_| depth < 8)
        {
            let whole: Vec<String> = meant.iter().chain(&rest[1..]).cloned().collect();
            return resolve(&whole, &place, modules, depth + 1);
        } else {
            break;
        }
    }
    modules.get(&place).map(|module| module.file.clone())
}

#[derive(Default)]
struct Visitor<'a> {
    file: &'a str,
    paths: BTreeSet<Vec<String>>,
    reexports: BTreeMap<String, Vec<String>>,
    functions: Vec<Function>,
    allows: Vec<String>,
}

impl Visitor<'_> {
    fn uses(&mut self, tree: &syn::UseTree, prefix: &mut Vec<String>, reexported: bool) {
        let (path, name) = match tree {
            syn::UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.uses(&path.tree, prefix, reexported);
                prefix.pop();
                return;
            }
            syn::UseTree::Group(group) => {
                return group
                    .items
                    .iter()
                    .for_each(|item| self.uses(item, prefix, reexported));
            }
            syn::UseTree::Glob(_) => (prefix.clone(), None),
            syn::UseTree::Name(name) if name.ident == "self" => {
                (prefix.clone(), prefix.last().cloned())
            }
            syn::UseTree::Name(name) => (with(prefix, &name.ident), Some(name.ident.to_string())),
            syn::UseTree::Rename(rename) => {
                (with(prefix, &rename.ident), Some(rename.rename.to_string()))
            }
        };
        match name {
            Some(name) if reexported => drop(self.reexports.insert(name, path)),
            _ => drop(self.paths.insert(path)),
        }
    }

    fn function(
        &mut self,
        signature: &syn::Signature,
        whole: proc_macro2::Span,
        attributes: &[syn::Attribute],
        public: bool,
    ) {
        let (begin, end) = (signature.span().start().line, whole.end().line);
        self.functions.push(Function {
            place: format!("{}:{begin} {}", self.file, signature.ident),
            lines: end.saturating_sub(begin) + 1,
            parameters: signature.inputs.len(),
            public,
            documented: attributes
                .iter()
                .any(|attribute| attribute.path().is_ident("doc")),
        });
    }
}

fn with(prefix: &[String], last: &syn::Ident) -> Vec<String> {
    prefix.iter().cloned().chain([last.to_string()]).collect()
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg")
                && attribute.meta.require_list().is_ok_and(|list| {
                    list.tokens
                        .to_string()
                        .split(|c: char| !c.is_alphanumeric())
                        .any(|word| word == "test")
                })
    })
}

impl<'ast> Visit<'ast> for Visitor<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) {
            syn::visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.uses(
            &item.tree,
            &mut Vec::new(),
            !matches!(item.vis, syn::Visibility::Inherited),
        );
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if attribute.path().is_ident("allow") {
            let line = attribute.span().start().line;
            self.allows.push(format!("{}:{line}", self.file));
        }
        syn::visit::visit_attribute(self, attribute);
    }

    /// `pub(super)` names no module that is used.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        // A single name may be one that this file re-exports and uses itself.
        self.paths.insert(
            path.segments
                .iter()
                .map(|segment| segment.ident.to_string())
                .collect(),
        );
        syn::visit::visit_path(self, path);
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !is_test(&item.attrs) {
            self.function(
                &item.sig,
                item.span(),
                &item.attrs,
                matches!(item.vis, syn::Visibility::Public(_)),
            );
            syn::visit::visit_item_fn(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(
            &item.sig,
            item.span(),
            &item.attrs,
            matches!(item.vis, syn::Visibility::Public(_)),
        );
        syn::visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.function(&item.sig, item.span(), &item.attrs, true);
        syn::visit::visit_trait_item_fn(self, item);
    }
}

/// The circles of a graph of imports: each is a set of files that can all reach each other, sorted.
pub fn circles(imports: &BTreeMap<String, BTreeSet<String>>) -> Vec<Vec<String>> {
    let reach: BTreeMap<&String, BTreeSet<&String>> = imports
        .keys()
        .map(|file| (file, reachable(imports, file)))
        .collect();
    let mut found = BTreeSet::new();
    for (file, reached) in &reach {
        if reached.contains(*file) {
            let circle: Vec<String> = reached
                .iter()
                .filter(|other| reach.get(**other).is_some_and(|back| back.contains(*file)))
                .map(|name| (*name).clone())
                .collect();
            found.insert(circle);
        }
    }
    found.into_iter().collect()
}

fn reachable<'a>(
    imports: &'a BTreeMap<String, BTreeSet<String>>,
    from: &'a String,
) -> BTreeSet<&'a String> {
    let mut seen = BTreeSet::new();
    let mut open: Vec<&String> = imports.get(from).into_iter().flatten().collect();
    while let Some(file) = open.pop() {
        if seen.insert(file) {
            open.extend(imports.get(file).into_iter().flatten());
        }
    }
    seen
}

/// Lines that are wider than [`COLUMNS_MAX`], and lines in all.
pub fn widths<'a>(texts: impl Iterator<Item = &'a str>) -> (usize, usize) {
    let mut counts = (0, 0);
    for line in texts.flat_map(str::lines) {
        counts.1 += 1;
        counts.0 += usize::from(line.chars().count() > COLUMNS_MAX);
    }
    counts
}
