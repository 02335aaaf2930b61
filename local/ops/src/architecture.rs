//! The processor for which the functions are built, and on which Lambda runs them.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use crate::parameters::Parameters;

/// The parameter that names it, and its variable.
const PARAMETER: &str = "Architecture";
const VARIABLE: &str = "ARCHITECTURE";

/// The names of the processors, and how the header of an ELF file names them (`e_machine`, elf(5)). The first one is the
/// default.
const MACHINES: [(&str, u16); 2] = [("x86_64", 62), ("arm64", 183)];

/// Returns the name of the processor that these parameters choose.
///
/// # Errors
/// Lambda has no such processor.
pub fn chosen(given: &Parameters) -> Result<&'static str> {
    let Some(chosen) = given.get(PARAMETER) else { return Ok(MACHINES[0].0) };
    let known = MACHINES.iter().map(|(name, _)| *name).find(|name| *name == chosen);
    known.with_context(|| format!("{VARIABLE} is x86_64 or arm64, not {chosen}"))
}

/// Checks that the functions among these files of a build are for this processor. AWS accepts others, and each of their
/// invocations fails.
///
/// # Errors
/// One of them is for another processor, there is none, or a file cannot be read.
pub(crate) fn check(files: &[PathBuf], chosen: &str) -> Result<()> {
    let functions: Vec<&PathBuf> = files.iter().filter(|file| file.ends_with("bootstrap")).collect();
    ensure!(!functions.is_empty(), "there are no functions in the build");
    for function in functions {
        let built = of(function)?;
        ensure!(
            built == chosen,
            "{} is built for {built}, and {VARIABLE} is {chosen}: make build ARCHITECTURE={chosen}",
            function.display()
        );
    }
    Ok(())
}

/// Returns the name of the processor for which a function is built.
fn of(function: &Path) -> Result<&'static str> {
    let mut header = [0; 20];
    let read = File::open(function).and_then(|mut file| file.read_exact(&mut header));
    read.with_context(|| function.display().to_string())?;
    let machine = u16::from_le_bytes([header[18], header[19]]);
    let known = MACHINES.iter().find(|(_, known)| header.starts_with(b"\x7fELF") && *known == machine);
    known.map(|(name, _)| *name).with_context(|| format!("{} is no program for Lambda", function.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{layout, template};

    #[test]
    fn no_other_processor_is_chosen_than_the_template_allows() {
        let of = |value: &str| chosen(&Parameters::from([(PARAMETER, value.to_owned())])).ok();
        assert_eq!([of("arm64"), of("x86_64"), of("ARM64"), of("")], [Some("arm64"), Some("x86_64"), None, None]);
        let template = template::parameters(&layout::root().join("template.yaml")).unwrap();
        let default = &template.iter().find(|(name, _)| name == PARAMETER).unwrap().1.default;
        assert_eq!(chosen(&Parameters::new()).unwrap(), default);
    }

    #[test]
    fn this_program_is_built_for_one_of_them() {
        assert_eq!(of(&std::env::current_exe().unwrap()).unwrap(), std::env::consts::ARCH.replace("aarch64", "arm64"));
        assert!(of(&layout::root().join("template.yaml")).is_err());
        assert!(check(&[layout::root().join("template.yaml")], "x86_64").is_err());
    }
}
