//! The cursors of pages of associations. Clients see opaque texts like HubSpot's: `MC0yLTE1OTc0MDA2NTg%3D`, which is
//! `0-2-1597400658` in base64, with its end encoded for a URL.

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{links::LinkEnd, object::Object};

/// Returns the cursor of the page behind a record.
pub(super) fn after(object: Object, id: u64) -> String {
    STANDARD.encode(format!("{}-{id}", object.type_id())).replace('=', "%3D")
}

/// Returns the record behind which the page begins. Returns `None` if the cursor is invalid.
pub(super) fn parse(object: Object, cursor: &str) -> Option<u64> {
    let decoded = STANDARD.decode(cursor.replace("%3D", "=")).ok()?;
    let (type_id, id) = std::str::from_utf8(&decoded).ok()?.rsplit_once('-')?;
    id.parse().ok().filter(|_| type_id == object.type_id())
}

/// Returns the index at which the page begins. The record of the cursor may not be linked any more.
pub(super) fn first(ends: &[LinkEnd], after: u64) -> usize {
    match ends.iter().position(|end| end.id == after) {
        Some(place) => place + 1,
        None => ends.iter().position(|end| end.is_primary() || end.id < after).unwrap_or(ends.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_look_like_those_of_hubspot() {
        let cursor = after(Object::COMPANIES, 1_597_400_658);
        assert_eq!(cursor, "MC0yLTE1OTc0MDA2NTg%3D");
        assert_eq!(parse(Object::COMPANIES, &cursor), Some(1_597_400_658));
        assert_eq!(parse(Object::COMPANIES, &cursor.replace("%3D", "=")), Some(1_597_400_658));
        assert_eq!(parse(Object::CONTACTS, &cursor), None);
        assert_eq!(parse(Object::COMPANIES, "100"), None);
    }

    #[test]
    fn a_page_begins_behind_its_record_even_if_that_is_not_linked_any_more() {
        let ends: Vec<LinkEnd> = [9, 7, 5].map(|id| LinkEnd { id, types: Vec::new() }).into();
        assert_eq!([9, 8, 7, 6, 5, 4].map(|after| first(&ends, after)), [1, 1, 2, 2, 3, 3]);
    }
}
