//! The parameters of a template.

use std::path::Path;

use anyhow::{Context, Result};
use serde_yaml_ng::Value;

/// A parameter of the template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parameter {
    /// Its default.
    pub(crate) default: String,
    /// Its purpose.
    pub(crate) description: String,
    /// True if its value must not be shown.
    pub(crate) is_secret: bool,
}

/// Returns the parameters of a template with their names, in the order in which they are written.
///
/// # Errors
/// The file is not a template.
pub(crate) fn parameters(template: &Path) -> Result<Vec<(String, Parameter)>> {
    let text = std::fs::read_to_string(template).with_context(|| template.display().to_string())?;
    let template: Value = serde_yaml_ng::from_str(&text)?;
    let parameters = template["Parameters"].as_mapping().context("the template has no parameters")?;
    let read = |(name, said): (&Value, &Value)| {
        let text = |field: &str| match &said[field] {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => String::new(),
        };
        let (default, description) = (text("Default"), text("Description"));
        Some((name.as_str()?.to_owned(), Parameter { default, description, is_secret: said["NoEcho"] == true }))
    };
    Ok(parameters.iter().filter_map(read).collect())
}

/// Returns a template's text with another default of a parameter.
///
/// # Errors
/// The template has no such parameter, or the parameter has no default.
pub(crate) fn with_default(text: &str, parameter: &str, default: &str) -> Result<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let header = format!("  {parameter}:");
    let begin = lines.iter().position(|line| *line == header).with_context(|| format!("there is no {parameter}"))?;
    let of_parameter = lines[begin + 1..].iter().take_while(|line| line.starts_with("    ")).count();
    let said = &mut lines[begin + 1..=begin + of_parameter];
    let line = said.iter_mut().find(|line| line.starts_with("    Default:"));
    *line.with_context(|| format!("{parameter} has no default"))? = format!("    Default: '{default}'");
    Ok(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_is_replaced_and_nothing_else() {
        let text = "Parameters:\n  A:\n    Default: a\n  B:\n    Type: String\n    Default: ''\nResources:\n  A:\n    Default: r\n";
        let replaced = with_default(text, "B", "new").unwrap();
        assert_eq!(replaced, text.replace("''", "'new'"));
        assert!(with_default(text, "C", "new").is_err());
        assert!(with_default("  A:\n    Type: String\n  B:\n    Default: b\n", "A", "new").is_err());
    }
}
