//! What the documents promise, as far as it can be checked.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Context as _, Result, ensure};
use ops::{cost, layout};

use crate::template;

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

/// The cells of a document's tables whose rows begin with a name.
fn rows(document: &str) -> Vec<Vec<&str>> {
    document
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect()
}

/// Each parameter of the template is in docs/reference/configuration.md, with its default, and nothing else is.
#[test]
fn every_parameter_is_documented_with_its_default() -> Result<()> {
    let document = std::fs::read_to_string(layout::root().join("docs/reference/configuration.md"))?;
    let quoted = |cell: &str| cell.trim_matches('`').to_owned();
    let documented: BTreeMap<String, String> =
        rows(&document).iter().filter(|row| row.len() == 6).map(|row| (quoted(row[1]), quoted(row[3]))).collect();
    let template = template::read("template.yaml")?;
    let mut parameters = BTreeMap::new();
    for (name, parameter) in template["Parameters"].as_mapping().context("a template has parameters")? {
        let default = &parameter["Default"];
        let default = default.as_str().map_or_else(|| default.as_u64().unwrap_or_default().to_string(), str::to_owned);
        parameters.insert(name.as_str().unwrap_or_default().to_owned(), default);
    }
    assert_eq!(documented, parameters);
    Ok(())
}

/// Each variable that the functions read is in docs/reference/configuration.md, and each that `make deploy` takes is too.
#[test]
fn every_variable_is_documented() -> Result<()> {
    let document = std::fs::read_to_string(layout::root().join("docs/reference/configuration.md"))?;
    let documented: BTreeSet<&str> = document.split('`').skip(1).step_by(2).collect();
    let mut read = BTreeSet::new();
    for folder in ["common", "functions"] {
        variables(&layout::root().join(folder), &mut read)?;
    }
    variables(&layout::root().join("local/ops/src/parameters.rs"), &mut read)?;
    ensure!(read.len() > 35, "only {} variables were found", read.len());
    // Cargo's, and HubSpot's words.
    let others = ["CARGO_PKG_VERSION", "HUBSPOT_DEFINED", "NO_ASSOCIATIONS_FOUND", "OBJECT_NOT_FOUND"];
    let others = others.into_iter().chain(["TEN_SECONDLY_ROLLING", "USER_DEFINED"]).collect::<Vec<_>>();
    let refusals = ["ACCESS_DENIED", "BAD_AUTH_CODE", "BAD_CLIENT", "BAD_CLIENT_ID", "BAD_CLIENT_SECRET", "BAD_HUB"];
    let others = others.into_iter().chain(refusals).chain(["BAD_REFRESH_TOKEN", "INVALID_CLIENT", "INVALID_GRANT"]);
    let others = others.chain(["NOT_HAS_PROPERTY", "UNAUTHORIZED_CLIENT", "VALIDATION_ERROR"]).collect::<Vec<_>>();
    let is_known = |name: &str| documented.contains(name) || others.contains(&name);
    let missing: Vec<&String> = read.iter().filter(|name| !is_known(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    Ok(())
}

/// The variables that are named in a source, or in all those of a folder.
fn variables(path: &Path, found: &mut BTreeSet<String>) -> Result<()> {
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            variables(&entry?.path(), found)?;
        }
    } else {
        found.extend(template::variables_in(path)?);
    }
    Ok(())
}

/// docs/reference/cost.md shows what the model says.
#[test]
fn the_cost_is_what_the_model_says() -> Result<()> {
    let document = std::fs::read_to_string(layout::root().join("docs/reference/cost.md"))?;
    let total = |accounts, changes_per_day, tick_minutes| -> Result<f64> {
        let items = cost::bill(&cost::Load { accounts, changes_per_day, tick_minutes })?;
        Ok(items.iter().map(|item| item.dollars).sum())
    };
    for item in cost::bill(&cost::Load { accounts: 1000, changes_per_day: 50_000, tick_minutes: 5 })? {
        let row = format!("| {} | {} | {:.2} |", item.name, item.amount, item.dollars);
        ensure!(document.contains(&row), "docs/reference/cost.md has no row {row}");
    }
    for (load, shown) in [((1000, 50_000, 5), "**{}**"), ((100, 5_000, 5), "${}"), ((1000, 50_000, 15), "${}")] {
        let shown = shown.replace("{}", &format!("{:.2}", total(load.0, load.1, load.2)?));
        ensure!(document.contains(&shown), "docs/reference/cost.md does not say {shown}");
    }
    Ok(())
}
