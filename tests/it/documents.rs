//! What the documents promise, as far as it can be checked.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use stack::layout;

/// Every test that docs/FAULTS.md names is there.
#[test]
fn every_fault_names_a_test_that_exists() -> Result<()> {
    let document = std::fs::read_to_string(layout::root().join("docs/FAULTS.md"))?;
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
    let document = std::fs::read_to_string(layout::root().join("docs/FAULTS.md"))?;
    let (_, faults) = document.split_once("## HubSpot").context("the faults begin with HubSpot's")?;
    let rows = faults.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| fault "));
    for row in rows {
        ensure!(row.contains("::"), "no test is named: {row}");
    }
    Ok(())
}
