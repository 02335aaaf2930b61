//! The paths of the repository, its tools, and the state of a local stack.

use std::{
    fs::{self, OpenOptions, Permissions},
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use crate::variables::STACK_STATE;

/// Returns the repository's root.
pub fn root() -> PathBuf {
    // This crate is two folders below the root.
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new(".")).to_owned()
}

/// The name of the local stack, and of the stack on AWS of samconfig.toml's environment `default`.
pub const NAME: &str = "hubspot-sync";

/// Returns the folder into which `make tools` installs.
pub fn tools() -> PathBuf {
    root().join(".tools")
}

/// Returns the folder with the data and logs of the stack that `make up` and `make demo` start. `STACK_STATE` names
/// another folder, for a second stack beside it.
pub fn state() -> PathBuf {
    STACK_STATE.optional().map_or_else(|| root().join(".stack"), PathBuf::from)
}

/// Makes a folder of the stack that only its owner may read, because files in it contain secrets or personal data.
///
/// # Errors
/// The folder cannot be made.
pub fn make_private(folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(0o700))
}

/// Writes a file with secrets or personal data. Only its owner may read it, even if it existed before.
///
/// # Errors
/// The file cannot be written.
pub fn write_private(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    file.write_all(text)
}

/// Returns the log file of a program of the stack.
pub fn log(state: &Path, name: &str) -> PathBuf {
    state.join(format!("{name}.log"))
}
