//! The pages lead where they say: every relative link and anchor, every path and page that is named, and every page from the
//! index.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use ops::layout;

/// The index, from which every page is reached.
const INDEX: &str = "docs/README.md";

/// What is in no folder of the repository's own.
const OTHERS: [&str; 7] = [".git", ".tools", ".aws-sam", ".stack", ".hubspot-app", "target", "node_modules"];

/// Adds the files below a folder, by their paths from the root.
fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(layout::root().join(folder))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        if OTHERS.iter().any(|other| entry.file_name() == *other) {
            continue;
        }
        match layout::root().join(&path).is_dir() {
            true => walk(&path, found)?,
            false => found.push(path),
        }
    }
    Ok(())
}

/// Returns the repository's pages.
fn pages() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    walk(Path::new(""), &mut found)?;
    found.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    Ok(found)
}

/// Returns a page without its blocks of code.
fn prose(text: &str) -> String {
    let mut in_code = false;
    let outside = text.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        !in_code && !is_fence
    });
    outside.collect::<Vec<_>>().join("\n")
}

/// Returns the targets of a page's links.
fn links(text: &str) -> Vec<String> {
    let text = prose(text);
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.map(str::to_owned).collect()
}

/// Returns the anchors that GitHub gives to a page's headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    let mut found = BTreeSet::new();
    for line in prose(text).lines().filter(|line| line.starts_with('#')) {
        let heading = line.trim_start_matches('#').trim();
        // Of a link in a heading only its text counts.
        let heading: String = heading.split("](").enumerate().fold(String::new(), |so_far, (number, part)| {
            let part = if number == 0 { part } else { part.split_once(')').map_or("", |(_, rest)| rest) };
            so_far + part
        });
        let kept = heading.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
        let anchor = kept.collect::<String>().to_lowercase().replace(' ', "-");
        let before = times.entry(anchor.clone()).or_default();
        found.insert(if *before == 0 { anchor } else { format!("{anchor}-{before}") });
        *before += 1;
    }
    found
}

/// Returns the path from the root to which a link on a page leads, or `None` if it leads out of the repository.
fn target(page: &Path, link: &str) -> Option<PathBuf> {
    let mut path = if link.is_empty() { page.to_owned() } else { page.parent()?.to_owned() };
    for part in Path::new(link).components() {
        match part {
            Component::ParentDir => path.pop().then_some(())?,
            Component::CurDir => {}
            other => path.push(other),
        }
    }
    Some(path)
}

/// Each relative link of each page, and each anchor in one.
#[test]
fn every_link_and_anchor_leads_somewhere() -> Result<()> {
    let mut followed = 0;
    for page in pages()? {
        let text = std::fs::read_to_string(layout::root().join(&page))?;
        for link in links(&text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = target(&page, path).with_context(|| format!("{}: {link}", page.display()))?;
            let target = layout::root().join(target);
            ensure!(target.exists(), "{}: {link} leads nowhere", page.display());
            if !anchor.is_empty() {
                let there = anchors(&std::fs::read_to_string(target)?).contains(anchor);
                ensure!(there, "{}: {link} names no heading", page.display());
            }
            followed += 1;
        }
    }
    ensure!(followed > 80, "only {followed} links were found");
    Ok(())
}

/// Sources, templates and scripts name pages too, in comments and in what people see in a console.
#[test]
fn every_page_that_a_source_names_exists() -> Result<()> {
    let mut named = 0;
    let mut files = Vec::new();
    walk(Path::new(""), &mut files)?;
    for file in files {
        // Pictures are no text.
        let Ok(text) = std::fs::read_to_string(layout::root().join(&file)) else { continue };
        for (at, start) in text.match_indices("docs/") {
            let is_path = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '/' | '-' | '_' | '.');
            let rest = text[at + start.len()..].split(|letter| !is_path(letter)).next().unwrap_or_default();
            let begins = !text[..at].ends_with(is_path);
            let Some(page) = rest.trim_end_matches('.').strip_suffix(".md").filter(|_| begins) else { continue };
            let path = format!("docs/{page}.md");
            ensure!(layout::root().join(&path).is_file(), "{} names {path}", file.display());
            named += 1;
        }
    }
    ensure!(named > 40, "only {named} pages are named");
    Ok(())
}

/// Pages name files and folders of the repository in code: `functions/sync/src/chain.rs`.
#[test]
fn every_path_that_a_page_names_exists() -> Result<()> {
    let folders = ["common/", "docs/", "events/", "functions/", "hubspot-app/", "local/", "tests/"];
    let mut named = 0;
    for page in pages()? {
        let text = std::fs::read_to_string(layout::root().join(&page))?;
        for code in prose(&text).split('`').skip(1).step_by(2) {
            let is_path = folders.iter().any(|folder| code.starts_with(folder)) && !code.contains(['*', '<', ' ']);
            if is_path {
                let exists = layout::root().join(code).exists();
                ensure!(exists, "{} names {code}", page.display());
                named += 1;
            }
        }
    }
    ensure!(named > 20, "only {named} paths are named");
    Ok(())
}

/// A reader who begins with the index reaches every page of the documentation, and each is a guide, a concept, a
/// reference or a decision.
#[test]
fn every_page_is_reached_from_the_index() -> Result<()> {
    let mut reached = BTreeSet::from([PathBuf::from(INDEX)]);
    let mut next: Vec<PathBuf> = reached.iter().cloned().collect();
    while let Some(page) = next.pop() {
        let text = std::fs::read_to_string(layout::root().join(&page))?;
        for link in links(&text) {
            let path = link.split('#').next().unwrap_or_default();
            let Some(target) = target(&page, path).filter(|target| target.starts_with("docs")) else { continue };
            let is_page = target.extension().is_some_and(|extension| extension == "md");
            if is_page && reached.insert(target.clone()) {
                next.push(target);
            }
        }
    }
    for page in pages()?.into_iter().filter(|path| path.starts_with("docs")) {
        ensure!(reached.contains(&page), "{INDEX} does not lead to {}", page.display());
        let folders = ["docs/guide", "docs/concepts", "docs/reference", "docs/decisions"];
        let is_placed = folders.iter().any(|folder| page.parent() == Some(Path::new(folder)));
        ensure!(is_placed || page == Path::new(INDEX), "{} is in none of {folders:?}", page.display());
    }
    Ok(())
}

#[test]
fn anchors_are_those_of_github() {
    let text = "# One, `two_three`: [four](x.md)\n## 5. The app\n```sh\n# no\n```\n## Same\n## Same\n";
    let expected = ["one-two_three-four", "5-the-app", "same", "same-1"];
    assert_eq!(anchors(text), expected.map(str::to_owned).into());
}
