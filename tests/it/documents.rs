//! What the documents promise, as far as it can be checked.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use environment::{config::Function, variables};
use model::{catalogue::CATALOGUE, object::ObjectType};
use ops::{
    cost::{self, Load},
    layout, reference,
};

use crate::layers;

/// Every test that docs/reference/faults.md names is there.
#[test]
fn every_fault_names_a_test_that_exists() -> Result<()> {
    let document = std::fs::read_to_string(layout::root().join("docs/reference/faults.md"))?;
    let named: BTreeSet<&str> = document.split('`').skip(1).step_by(2).filter(|name| name.contains("::")).collect();
    ensure!(named.len() > 40, "only {} tests are named", named.len());
    for name in named {
        let (module, test) = name.rsplit_once("::").context("a test has a module")?;
        let file = layout::root().join("tests/it").join(module.replace("::", "/")).with_extension("rs");
        let source = std::fs::read_to_string(&file).with_context(|| format!("{name}: {}", file.display()))?;
        ensure!(source.contains(&format!("fn {test}(")), "{name} is not in {}", file.display());
    }
    Ok(())
}

/// Each row of its tables but those of the outcomes names a test.
#[test]
fn every_fault_has_a_test() -> Result<()> {
    let document = std::fs::read_to_string(layout::root().join("docs/reference/faults.md"))?;
    let (_, faults) = document.split_once("## HubSpot").context("the faults begin with HubSpot's")?;
    let rows = faults.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| fault "));
    for row in rows {
        ensure!(row.contains("::"), "no test is named: {row}");
    }
    Ok(())
}

#[test]
fn the_reference_page_is_current() -> Result<()> {
    let page = std::fs::read_to_string(layout::root().join(reference::PAGE))?;
    ensure!(
        reference::with_tables(&page)? == page,
        "the tables of {} are not current: run `make docs`",
        reference::PAGE
    );
    Ok(())
}

/// What `.env.example` shows as a default is one, and it shows all that the local stack takes.
#[test]
fn the_example_shows_the_defaults_that_hold() -> Result<()> {
    let example = std::fs::read_to_string(layout::root().join(".env.example"))?;
    let lines = example.lines().filter_map(|line| line.strip_prefix('#')?.split_once('='));
    let shown: BTreeMap<&str, &str> = lines.collect();
    for variable in ops::variables::ALL.iter().filter(|variable| variable.name != "STACK_STATE") {
        ensure!(shown.contains_key(variable.name), "{} is not in .env.example", variable.name);
    }
    for variable in [ops::variables::ALL, variables::ALL].concat() {
        let default = variable.default.unwrap_or_default();
        let shown = shown.get(variable.name).copied().filter(|shown| !shown.contains("example"));
        ensure!(shown.is_none_or(|shown| shown == default), "{}={shown:?}, not {default:?}", variable.name);
    }
    Ok(())
}

/// The Rust files of the functions, and of what they share, with their code.
fn code_of_the_functions() -> Result<Vec<(PathBuf, String)>> {
    let folders = ["common", "functions"].map(|folder| layers::files(&layout::root().join(folder)));
    let files = folders.into_iter().collect::<Result<Vec<_>>>()?.concat();
    files.into_iter().map(|file| layers::code(&file).map(|code| (file, code))).collect()
}

/// Whoever reads a variable without its row in the table would leave it out of the page, and have its default elsewhere.
#[test]
fn variables_are_read_by_their_rows_alone() -> Result<()> {
    let code = code_of_the_functions()?;
    let readers = code.iter().filter(|(_, code)| code.contains("std::env") || code.contains("env::var"));
    let readers: Vec<_> = readers.map(|(file, _)| file.strip_prefix(layout::root())).collect::<Result<_, _>>()?;
    assert_eq!(readers, [Path::new("common/environment/src/config.rs")]);
    Ok(())
}

#[test]
fn every_row_is_read_and_its_functions_are_named() -> Result<()> {
    let is_of_name = |character: char| character.is_ascii_uppercase() || character.is_ascii_digit() || character == '_';
    let mut found = BTreeSet::new();
    for (file, code) in code_of_the_functions()?.iter().filter(|(file, _)| !file.ends_with("variables.rs")) {
        let named: BTreeSet<&str> = code.split(|character| !is_of_name(character)).collect();
        for variable in variables::ALL.iter().filter(|variable| named.contains(variable.name)) {
            found.insert(variable.name);
            let function = Function::ALL
                .into_iter()
                .find(|function| file.starts_with(layout::root().join("functions").join(function.name())));
            let is_right = function.is_none_or(|function| variable.read_by.contains(&function));
            ensure!(is_right, "the row of {} does not name {function:?}, which reads it", variable.name);
        }
    }
    let unread: Vec<_> = variables::ALL.iter().filter(|variable| !found.contains(variable.name)).collect();
    ensure!(unread.is_empty(), "nobody reads {unread:?}");
    Ok(())
}

/// Both tables of docs/guide/objects.md have the catalogue's rows, in its order. The marks of the sources are the document's own.
#[test]
fn documented_object_types_are_the_catalogues() -> Result<()> {
    let document = std::fs::read_to_string(layout::root().join("docs/guide/objects.md"))?;
    let (_, tables) = document.split_once("## The catalogue").context("the catalogue has a section")?;
    let rows = tables.lines().filter(|line| line.starts_with("| `"));
    let rows: Vec<Vec<&str>> = rows.map(|line| line.split('|').map(str::trim).collect()).collect();
    // A row begins and ends with a bar.
    let (facts, properties): (Vec<_>, Vec<_>) = rows.into_iter().partition(|cells| cells.len() > 5);
    let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let yes = |cell: &str| cell.split(' ').next() == Some("yes");
    ensure!(facts.len() == CATALOGUE.len() && properties.len() == CATALOGUE.len(), "a table has more rows, or fewer");
    for ((row, facts), properties) in CATALOGUE.iter().zip(facts).zip(properties) {
        let [_, name, id, label, scopes, _, merges, bin, associations, webhooks, _] = facts[..] else {
            bail!("{facts:?} has other columns");
        };
        let associations: Vec<&str> = associations.split([' ', ',']).filter(|word| row_names(word)).collect();
        let is_row =
            quoted(name) == [row.name] && id == row.type_id && label == row.label && quoted(scopes) == row.scopes;
        let is_read = yes(merges) == row.merges && yes(bin) == row.has_recycle_bin && associations == row.associations;
        ensure!(is_row && is_read && yes(webhooks) == row.webhooks.is_some(), "{facts:?} is not the row {row:?}");
        let is_listed = quoted(properties[1]) == [row.name] && quoted(properties[2]) == row.default_properties;
        ensure!(is_listed, "{properties:?} are not those of {row:?}");
    }
    Ok(())
}

/// Returns true if the word is the name of an object type.
fn row_names(word: &str) -> bool {
    CATALOGUE.iter().any(|row| row.name == word)
}

/// docs/reference/cost.md shows what the model says.
#[test]
fn documented_cost_matches_the_cost_model() -> Result<()> {
    let document = std::fs::read_to_string(layout::root().join("docs/reference/cost.md"))?;
    let total = |load: &Load| -> Result<f64> { Ok(cost::bill(load)?.iter().map(|item| item.dollars).sum()) };
    let load = |accounts, changes_per_day, tick_minutes| Load {
        accounts,
        changes_per_day,
        tick_minutes,
        objects: ObjectType::DEFAULT.to_vec(),
        webhooks: false,
    };
    let usual = load(1000, 50_000, 5);
    for item in cost::bill(&usual)? {
        let row = format!("| {} | {} | {:.2} |", item.name, item.amount, item.dollars);
        ensure!(document.contains(&row), "docs/reference/cost.md has no row {row}");
    }
    for (load, shown) in [(&usual, "**{}**"), (&load(100, 5_000, 5), "${}"), (&load(1000, 50_000, 15), "${}")] {
        let shown = shown.replace("{}", &format!("{:.2}", total(load)?));
        ensure!(document.contains(&shown), "docs/reference/cost.md does not say {shown}");
    }
    let types = CATALOGUE.iter().map(|row| ObjectType::parse(row.name)).collect::<Result<Vec<_>, _>>()?;
    for count in [2, 3, 5, 8, 20] {
        let more = total(&Load { objects: types[..count].to_vec(), ..usual.clone() })? - total(&usual)?;
        let is_row =
            |line: &str| line.starts_with(&format!("| {count} | ")) && line.ends_with(&format!(" | {more:.2} |"));
        ensure!(
            document.lines().any(is_row),
            "docs/reference/cost.md does not say that {count} types cost {more:.2} more"
        );
    }
    Ok(())
}

/// A filter that names no test would let it run with the settings of the others.
#[test]
fn every_filter_of_nextest_names_a_test() -> Result<()> {
    let root = layout::root();
    let text = std::fs::read_to_string(root.join(".config/nextest.toml"))?;
    let names: Vec<&str> = text.split("test(").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    ensure!(names.len() > 10, "only {} filters were found", names.len());
    for name in names {
        let (module, begins) = name.rsplit_once("::").context("a filter names a module")?;
        let paths = ["tests/it", "tests/harness/src"].map(|folder| root.join(folder).join(module.replace("::", "/")));
        let is_found = paths.iter().any(|path| match std::fs::read_to_string(path.with_extension("rs")) {
            Ok(source) => source.contains(&format!("fn {begins}")),
            Err(_) => begins.is_empty() && path.is_dir(),
        });
        ensure!(is_found, "{name} is no test");
    }
    Ok(())
}
