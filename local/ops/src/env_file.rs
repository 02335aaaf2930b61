//! `.env`: variables for the commands. Each value is used literally.

use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Reads a file of variables into the environment. The environment's own values have precedence.
///
/// # Errors
/// The file cannot be read, or a value in it may not mean what is written there.
pub(crate) fn read(file: &Path) -> Result<()> {
    let name = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("{name} cannot be read"))?;
    for (index, line) in text.lines().enumerate() {
        check(line).with_context(|| format!("line {} of {name}", index + 1))?;
    }
    dotenvy::from_read(text.as_bytes()).map_err(|_| {
        // The parser's own error quotes the line, which may contain a secret.
        let is_wrong = |line: &str| dotenvy::from_read_iter(line.as_bytes()).any(|read| read.is_err());
        let line = text.lines().position(is_wrong).map_or_else(|| "a line".to_owned(), |at| format!("line {}", at + 1));
        anyhow::anyhow!("{line} of {name} is not NAME=value; a value with spaces or # stands in single quotes")
    })
}

/// Returns the value of a variable that `.env` may set. Returns `None` if it is not set, or empty.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Refuses a dollar sign outside of single quotes. It would be replaced by another variable, so that a password would
/// silently become another one.
fn check(line: &str) -> Result<()> {
    let Some((name, value)) = line.split_once('=').filter(|_| !line.trim_start().starts_with('#')) else {
        return Ok(());
    };
    let value = value.trim_start();
    // Text after the closing quote is not quoted. `\\` is a backslash, and does not escape the next character.
    let outside = value.strip_prefix('\'').map_or(value, |quoted| quoted.split_once('\'').map_or("", |(_, rest)| rest));
    ensure!(
        !outside.replace("\\\\", "").replace("\\$", "").contains('$'),
        "put the value of {} into single quotes",
        name.trim()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout;

    /// A variable in the example file can be read after its comment sign is removed.
    #[test]
    fn each_line_of_the_example_can_be_used() {
        let example = std::fs::read_to_string(layout::root().join(".env.example")).unwrap();
        let lines: Vec<&str> = example.lines().filter_map(|line| line.strip_prefix('#')).collect();
        let variables = lines.iter().filter(|line| line.starts_with(|first: char| first.is_ascii_uppercase()));
        let mut read = 0;
        for line in variables.filter(|line| line.split('=').next().is_some_and(|name| !name.contains(' '))) {
            check(line).unwrap();
            let parsed: Vec<_> = dotenvy::from_read_iter(line.as_bytes()).collect();
            assert!(parsed.len() == 1 && parsed[0].is_ok(), "{line}");
            read += 1;
        }
        assert!(read > 35, "only {read} variables are there");
    }

    #[test]
    fn a_dollar_sign_must_be_in_single_quotes() {
        for taken in ["A=b", "A='b$c'", "A=\"b\"", "# A=b$c", "", "A=b\\$c"] {
            assert!(check(taken).is_ok(), "{taken}");
        }
        for refused in ["A=b$c", "A=\"b$c\"", "A=b\\\\$c", "A='b'$c", "export A=b$c", " A = b${c}"] {
            let error = check(refused).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("put the value of {} into single quotes", refused.split_once('=').unwrap().0.trim())
            );
        }
    }
}
