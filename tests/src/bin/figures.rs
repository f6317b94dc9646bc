// SPDX-License-Identifier: GPL-3.0-or-later
//! Prints the figures of the project's structure: circles between modules, lengths and parameters
//! of functions, documentation, allowed lints, widths of lines.

use std::path::Path;

use wyng_tests::house::{
    COLUMNS_MAX, FUNCTION_LINES_MAX, PARAMETERS_MAX, circles, crate_folders, measure, rust_sources,
    widths,
};

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."));
    let (mut circle_list, mut functions, mut allows) = (Vec::new(), Vec::new(), Vec::new());
    for folder in crate_folders(root) {
        let mut house = measure(root, &folder);
        circle_list.append(&mut circles(&house.imports));
        functions.append(&mut house.functions);
        allows.append(&mut house.allows);
    }
    let mut lengths: Vec<usize> = functions.iter().map(|function| function.lines).collect();
    lengths.sort_unstable();
    let at = |share: usize| {
        lengths
            .get((lengths.len() * share / 100).min(lengths.len().saturating_sub(1)))
            .copied()
            .unwrap_or(0)
    };
    println!("circles between modules: {}", circle_list.len());
    for circle in &circle_list {
        println!("  {}", circle.join(" "));
    }
    println!(
        "functions: {}; lines: median {}, p90 {}, p99 {}, maximum {}",
        functions.len(),
        at(50),
        at(90),
        at(99),
        at(100)
    );
    for function in functions
        .iter()
        .filter(|function| function.lines > FUNCTION_LINES_MAX)
    {
        println!(
            "  longer than {FUNCTION_LINES_MAX} lines: {} ({})",
            function.place, function.lines
        );
    }
    for function in functions
        .iter()
        .filter(|function| function.parameters > PARAMETERS_MAX)
    {
        println!(
            "  more than {PARAMETERS_MAX} parameters: {} ({})",
            function.place, function.parameters
        );
    }
    let public: Vec<_> = functions
        .iter()
        .filter(|function| function.public)
        .collect();
    let documented = public.iter().filter(|function| function.documented).count();
    println!(
        "public functions: {}, documented: {documented}",
        public.len()
    );
    for function in public.iter().filter(|function| !function.documented) {
        println!("  without documentation: {}", function.place);
    }
    println!("#[allow] in production code: {}", allows.len());
    for place in &allows {
        println!("  {place}");
    }
    let texts: Vec<String> = rust_sources(root)
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .collect();
    let (wide, all) = widths(texts.iter().map(String::as_str));
    println!(
        "lines: {all}, wider than {COLUMNS_MAX} columns: {wide} ({:.2} %)",
        wide as f64 * 100.0 / all as f64
    );
}
