//! Questions at the terminal.

use std::io::{BufRead, Write};

use anyhow::{Result, ensure};

/// Asks for confirmation. Returns true if it is given.
///
/// # Errors
/// The terminal cannot be read.
pub(crate) fn is_confirmed(question: &str) -> Result<bool> {
    print!("\n{question} [y/N] ");
    std::io::stdout().flush()?;
    let mut said = String::new();
    std::io::stdin().lock().read_line(&mut said)?;
    Ok(["y", "yes"].contains(&said.trim().to_ascii_lowercase().as_str()))
}

/// Asks a question, and returns the answer.
///
/// # Errors
/// There is no answer.
pub(crate) fn answer(input: &mut impl BufRead, question: &str) -> Result<String> {
    print!("\n{question} ");
    std::io::stdout().flush()?;
    let mut said = String::new();
    ensure!(input.read_line(&mut said)? > 0, "nobody answers");
    Ok(said.trim().to_owned())
}
