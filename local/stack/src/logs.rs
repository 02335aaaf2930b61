//! The functions' logs, and a check that they contain no secrets or personal data.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use anyhow::{Context, Result, ensure};

/// The patterns of the simulator's secrets, tokens and grants, and of MongoDB's connection strings.
const SECRETS: [(&str, &str); 11] = [
    ("what MongoDB answered", "server response"),
    ("what the driver says of MongoDB's answer", "Kind: "),
    ("an event", "raw JSON event"),
    ("a connection string", "mongodb://"),
    ("a connection string", "mongodb+srv://"),
    ("a token", "-simulated-"),
    ("a token", "simulated-access-"),
    ("an authorization header", "Bearer "),
    ("a sealed token", "enc:v1:"),
    ("the signature of a link", "signature="),
    ("a client secret", hubspot_sim::CLIENT_SECRET),
];

/// Returns true if a line of MiniStack's log is from a function.
pub fn of_functions(line: &str) -> bool {
    line.contains("{\"timestamp\"") || line.contains("{\"_aws\"")
}

/// Checks these logs of functions.
///
/// # Errors
/// A log contains a secret or personal data, or there are no lines.
pub fn check(logs: &[&Path]) -> Result<()> {
    let (mut lines, mut found) = (0, Vec::new());
    for log in logs {
        let file = File::open(log).with_context(|| log.display().to_string())?;
        for line in BufReader::new(file).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            if of_functions(&line) {
                lines += 1;
                // The kind and the message, but not the line itself.
                found.extend(secret(&line).map(|what| format!("{what}: {}", source(&line))));
            }
        }
    }
    ensure!(lines > 0, "the functions wrote nothing that could be checked");
    found.sort_unstable();
    found.dedup();
    ensure!(found.is_empty(), "the functions' logs hold what must not be there:\n{}", found.join("\n"));
    Ok(())
}

/// Returns what a line contains that must not be logged. Returns `None` if there is nothing.
fn secret(line: &str) -> Option<&'static str> {
    let known = SECRETS.iter().find(|(_, text)| line.contains(text)).map(|(what, _)| *what);
    known.or_else(|| has_email(line).then_some("an e-mail address"))
}

/// Returns true if the line has a name, an at sign, and a domain with a dot.
fn has_email(line: &str) -> bool {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"._+-".contains(byte);
    line.match_indices('@').any(|(at, _)| {
        let (before, after) = (&line.as_bytes()[..at], &line.as_bytes()[at + 1..]);
        let domain: Vec<u8> = after.iter().copied().take_while(|byte| is_name(byte)).collect();
        before.last().is_some_and(is_name) && domain.iter().rposition(|byte| *byte == b'.').is_some_and(|dot| dot > 0)
    })
}

/// Returns the message of a log line.
fn source(line: &str) -> String {
    let json = line.find('{').map_or("", |start| &line[start..]);
    let parsed: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
    parsed["message"].as_str().unwrap_or("a line without a message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_addresses_are_found() {
        for line in ["x mongodb://h", "t=pat-na1-simulated-7", "simulated-access-1-2", "a person-1@firm.example b"] {
            assert!(secret(line).is_some(), "{line}");
        }
        for line in ["{\"@timestamp\": 1}", "a @ b.c", "mongodb", "1.2@3", "{\"timestamp\":\"2026-01-01T00:00:00Z\"}"] {
            assert_eq!(secret(line), None, "{line}");
        }
    }
}
