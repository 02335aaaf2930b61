//! The shape of the code: no circle of imports between the modules of a crate, and nothing that is too long to be read.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};
use ops::layout;

const FOLDERS: [&str; 19] = [
    "common/environment",
    "common/hubspot",
    "common/model",
    "common/queue",
    "common/runtime",
    "common/store",
    "common/telemetry",
    "common/token-vault",
    "functions/actions",
    "functions/connect",
    "functions/scheduler",
    "functions/sync",
    "local/hubspot-sim",
    "local/ops",
    "local/stack",
    "tests/bench",
    "tests/browser",
    "tests/harness",
    "tests/it",
];

/// The Rust files below a folder.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => found.extend(files(&path)?),
            false if path.extension().is_some_and(|extension| extension == "rs") => found.push(path),
            false => {}
        }
    }
    Ok(found)
}

/// The code of a file without its comments and its unit tests.
pub(crate) fn code(file: &Path) -> Result<String> {
    let text = std::fs::read_to_string(file)?;
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    Ok(text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n"))
}

/// The modules of the own crate that a file names: `crate::module`, and each first name in `crate::{...}`.
fn named(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let Some(list) = rest.strip_prefix('{') else {
            found.insert(word(rest));
            continue;
        };
        let (mut depth, mut part) = (0, String::new());
        for character in list.chars() {
            match character {
                '}' if depth == 0 => break,
                ',' if depth == 0 => {
                    found.insert(word(&part));
                    part.clear();
                    continue;
                }
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            part.push(character);
        }
        found.insert(word(&part));
    }
    // After a trailing comma there is no name.
    found.remove("");
    found
}

fn word(text: &str) -> String {
    text.trim().chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect()
}

/// Which modules of a crate each of its modules names. What stands in `lib.rs` and `main.rs` ties them together.
fn imports(source: &Path) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let mut modules: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files(source)? {
        let inside = file.strip_prefix(source)?;
        let first = inside.iter().next().and_then(|part| part.to_str()).unwrap_or_default().trim_end_matches(".rs");
        if !["lib", "main"].contains(&first) {
            modules.entry(first.to_owned()).or_default().extend(named(&code(&file)?));
        }
    }
    let known: BTreeSet<String> = modules.keys().cloned().collect();
    for (module, others) in &mut modules {
        others.retain(|other| known.contains(other) && other != module);
    }
    Ok(modules)
}

/// All that a module leads to.
fn reached(modules: &BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<String> {
    let (mut found, mut left) = (BTreeSet::new(), vec![from.to_owned()]);
    while let Some(module) = left.pop() {
        for other in modules.get(&module).into_iter().flatten() {
            if found.insert(other.clone()) {
                left.push(other.clone());
            }
        }
    }
    found
}

#[test]
fn modules_have_no_circle_of_imports() -> Result<()> {
    let mut found = 0;
    for name in FOLDERS {
        let source = layout::root().join(name).join("src");
        if !source.exists() {
            continue;
        }
        let modules = imports(&source)?;
        found += modules.len();
        let circle: Vec<&String> =
            modules.keys().filter(|module| reached(&modules, module).contains(*module)).collect();
        ensure!(circle.is_empty(), "{name}: these modules lead back to themselves: {circle:?}");
    }
    ensure!(found > 120, "only {found} modules were found");
    Ok(())
}

#[test]
fn circle_of_imports_is_detected() {
    let code = "use crate::{\n    one::{self, Two},\n    three,\n};\nfn a() { crate::four::b() }";
    assert_eq!(named(code), ["one", "three", "four"].map(str::to_owned).into());
    let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let modules = BTreeMap::from(
        [("a", of(&["b"])), ("b", of(&["c"])), ("c", of(&["b"]))].map(|(name, of)| (name.to_owned(), of)),
    );
    assert!(reached(&modules, "b").contains("b") && !reached(&modules, "a").contains("a"));
}

/// The functions of a file with their lengths. They are formatted: a function ends with a brace as far to the left as it begins.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let begins = |line: &str| {
        let line = line.trim_start();
        let line = ["pub ", "pub(crate) ", "pub(super) ", "const ", "async "]
            .iter()
            .fold(line, |line, word| line.trim_start_matches(word));
        line.starts_with("fn ").then(|| word(&line["fn ".len()..]))
    };
    let mut found = Vec::new();
    for (first, line) in lines.iter().enumerate() {
        let Some(name) = begins(line) else { continue };
        let end = format!("{}}}", " ".repeat(line.len() - line.trim_start().len()));
        let last = lines[first..].iter().position(|line| **line == end).unwrap_or_default();
        found.push((name, last + 1));
    }
    found
}

#[test]
fn no_file_and_no_function_is_too_long() -> Result<()> {
    const FILE: usize = 400;
    const FUNCTION: usize = 60;
    let mut long = Vec::new();
    let mut count = 0;
    for file in FOLDERS.into_iter().flat_map(|name| files(&layout::root().join(name)).into_iter().flatten()) {
        if file.iter().any(|part| part == "target") {
            continue;
        }
        let text = std::fs::read_to_string(&file)?;
        let name = file.strip_prefix(layout::root())?.display().to_string();
        if text.lines().count() > FILE {
            long.push(format!("{name} has {} lines", text.lines().count()));
        }
        for (function, lines) in functions(&text) {
            count += 1;
            if lines > FUNCTION {
                long.push(format!("{name}: {function} has {lines} lines"));
            }
        }
    }
    ensure!(count > 1500, "only {count} functions were found");
    ensure!(long.is_empty(), "{long:#?}");
    Ok(())
}
