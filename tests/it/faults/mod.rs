//! What can go wrong outside, and the one defined outcome of each; `docs/FAULTS.md` names these tests.

mod frozen;
mod hubspot;
mod lambda;
mod limits;
mod mongodb;
mod sqs;
mod tokens;
