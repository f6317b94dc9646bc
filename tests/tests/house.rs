// SPDX-License-Identifier: GPL-3.0-or-later
//! The limits of the project's structure: imports between modules, lengths and parameters of
//! functions, documentation, widths of lines. Whether a module is well cut is left to its readers.

use std::fs;
use std::path::Path;

use wyng_tests::house::{
    FUNCTION_LINES_MAX, Function, House, PARAMETERS_MAX, circles, crate_folders, measure,
    rust_sources, widths,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn houses() -> Vec<House> {
    let houses: Vec<House> = crate_folders(root())
        .iter()
        .map(|folder| measure(root(), folder))
        .collect();
    let functions: usize = houses.iter().map(|house| house.functions.len()).sum();
    assert!(functions > 1000, "only {functions} functions were found");
    houses
}

/// The functions of all crates that break a rule, one a line.
fn breaking(rule: impl Fn(&Function) -> bool) -> String {
    let places: Vec<String> = houses()
        .into_iter()
        .flat_map(|house| house.functions)
        .filter(|function| rule(function))
        .map(|function| function.place)
        .collect();
    places.join("\n")
}

#[test]
fn no_circle_between_modules() {
    let found: Vec<String> = houses()
        .iter()
        .flat_map(|house| circles(&house.imports))
        .map(|circle| circle.join(" "))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_function_over_100_lines() {
    let long = breaking(|function| function.lines > FUNCTION_LINES_MAX);
    assert_eq!(long, "");
}

#[test]
fn no_function_with_more_than_six_parameters() {
    let wide = breaking(|function| function.parameters > PARAMETERS_MAX);
    assert_eq!(wide, "");
}

#[test]
fn every_public_function_is_documented() {
    let bare = breaking(|function| function.public && !function.documented);
    assert_eq!(bare, "");
}

#[test]
fn production_code_expects_its_lints_in_place_of_allowing_them() {
    let allows: Vec<String> = houses()
        .into_iter()
        .flat_map(|house| house.allows)
        .collect();
    assert!(allows.is_empty(), "{}", allows.join("\n"));
}

#[test]
fn ninety_nine_in_100_lines_are_within_100_columns() {
    let texts: Vec<String> = rust_sources(root())
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let (wide, all) = widths(texts.iter().map(String::as_str));
    assert!(all > 10_000, "only {all} lines were found");
    assert!(wide * 100 <= all, "{wide} of {all} lines are wider");
}

/// The measurements of a crate of two files.
fn measured(lib: &str, other: &str) -> House {
    let root = tempfile::tempdir().unwrap();
    let source = root.path().join("crate/src");
    fs::create_dir_all(&source).unwrap();
    fs::write(source.join("lib.rs"), lib).unwrap();
    fs::write(source.join("other.rs"), other).unwrap();
    measure(root.path(), &root.path().join("crate"))
}

#[test]
fn a_circle_is_found_through_a_re_exported_name() {
    let house = measured(
        "mod other;\npub use other::Two;\npub struct One;\nfn uses(_: Two) {}\n",
        "use crate::One;\npub struct Two(One);\n",
    );
    assert_eq!(
        circles(&house.imports),
        [["crate/src/lib.rs", "crate/src/other.rs"]]
    );
    let straight = measured(
        "mod other;\npub use other::Two;\npub struct One;\n",
        "use crate::One;\npub struct Two(One);\n#[cfg(test)]\nmod tests { use crate::Two; }\n",
    );
    assert!(circles(&straight.imports).is_empty());
}

#[test]
fn functions_and_allowed_lints_are_counted_outside_of_unit_tests() {
    let house = measured(
        "mod other;\n#[allow(dead_code)]\npub fn bare(a: u8, b: u8) {\n    let _ = a;\n}\n",
        "/// Documented.\npub fn good() {}\n#[cfg(test)]\nmod tests {\n    #[allow(dead_code)]\n    fn test() {}\n}\n",
    );
    let measures: Vec<_> = house
        .functions
        .iter()
        .map(|function| {
            (
                function.place.as_str(),
                function.lines,
                function.parameters,
                function.public && !function.documented,
            )
        })
        .collect();
    assert_eq!(
        measures,
        [
            ("crate/src/lib.rs:3 bare", 3, 2, true),
            ("crate/src/other.rs:2 good", 1, 0, false)
        ]
    );
    assert_eq!(house.allows, ["crate/src/lib.rs:2"]);
}

#[test]
fn a_line_of_101_columns_is_wide() {
    let text = format!("{}\n{}\n", "é".repeat(100), "é".repeat(101));
    assert_eq!(widths([text.as_str()].into_iter()), (1, 2));
}
