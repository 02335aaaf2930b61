//! What can go wrong outside, and the one defined outcome of each; `docs/reference/faults.md` names these tests.

mod frozen;
mod grants;
mod hubspot;
mod lambda;
mod limits;
mod marks;
mod mongodb;
mod odd;
mod outage;
mod outcomes;
mod scope;
mod sqs;
mod tokens;
