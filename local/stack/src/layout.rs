//! Where things are: the repository, its tools, and the state of a local stack.

use std::path::{Path, PathBuf};

/// The repository's root.
pub fn root() -> PathBuf {
    // This crate stands two folders below it.
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new(".")).to_owned()
}

/// The folder into which `make tools` installs.
pub fn tools() -> PathBuf {
    root().join(".tools")
}

/// The folder of the stack that `make up` and `make demo` start: data and logs.
pub fn state() -> PathBuf {
    root().join(".stack")
}
