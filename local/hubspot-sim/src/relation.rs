//! An association between records of any two object types.

use crate::{links::AssociationType, object::Object};

/// A record: its type and its id.
pub type Key = (Object, u64);

/// An association, as seen from one of its ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Relation {
    /// The record at the other end.
    pub(crate) to: Key,
    /// The types in this direction.
    pub(crate) types: Vec<AssociationType>,
}
