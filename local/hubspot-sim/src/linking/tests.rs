use std::collections::BTreeSet;

use super::*;
use crate::{
    ChangeKind, Object, Settings, World,
    testing::{HUB, create},
};

fn world() -> World {
    World::new(Settings::unlimited())
}

/// Creates two companies, and a contact of both: the first is the primary one.
fn with_two_companies() -> (World, u64, [u64; 2]) {
    let mut world = world();
    let (companies, [contact]) = (create(&mut world, Object::COMPANIES), create(&mut world, Object::CONTACTS));
    assert!(companies.iter().all(|company| world.link(HUB, contact, *company, 2)));
    (world, contact, companies)
}

/// Returns a contact's companies with the type ids of their links, in their order.
fn links_of(world: &World, contact: u64) -> Vec<(u64, Vec<u64>)> {
    let ids = |link: Link| (link.company, link.types.iter().map(|kind| kind.type_id).collect());
    world.links_of(HUB, contact).into_iter().map(ids).collect()
}

/// Returns a contact's modification time.
fn modified_at(world: &World, contact: u64) -> i64 {
    world.record(HUB, Object::CONTACTS, contact).map(|(version, _)| version.modified_at).unwrap()
}

#[test]
fn linking_and_unlinking_leave_the_contact_as_it_was() {
    let (mut world, contact, [firm, bank]) = with_two_companies();
    assert_eq!(
        links_of(&world, contact),
        [(firm, vec![1, 279]), (bank, vec![279])],
        "the first one is the primary one"
    );
    assert!(
        !world.link(HUB, contact, bank, 3) && !world.link(HUB, contact, contact, 3) && !world.link(HUB, firm, bank, 3)
    );
    assert!(world.unlink(HUB, contact, firm, 4) && !world.unlink(HUB, contact, firm, 5));
    assert_eq!(links_of(&world, contact), [(bank, vec![279])], "no other one becomes the primary one");
    assert_eq!((modified_at(&world, contact), world.ledger.len()), (1, 3));
}

#[test]
fn another_primary_company_moves_the_contact_if_the_settings_say_so() {
    let (mut world, contact, [firm, bank]) = with_two_companies();
    assert!(!world.set_primary(HUB, contact, firm, 5), "it is the primary one already");
    assert!(!world.set_primary(HUB, contact, bank, 1), "the contact was modified later");
    assert!(world.set_primary(HUB, contact, bank, 5));
    assert_eq!(links_of(&world, contact), [(bank, vec![1, 279]), (firm, vec![279])]);
    assert_eq!(modified_at(&world, contact), 5);
    let last = world.ledger.last().unwrap();
    assert_eq!((last.id, last.kind, last.at), (contact, ChangeKind::Updated, 5));

    world.settings.primary_moves_contact = false;
    assert!(world.set_primary(HUB, contact, firm, 9));
    assert_eq!(links_of(&world, contact)[0], (firm, vec![1, 279]));
    assert_eq!((modified_at(&world, contact), world.ledger.len()), (5, 4));
}

#[test]
fn labels_are_set_replaced_and_removed() {
    let (mut world, contact, [firm, bank]) = with_two_companies();
    assert!(world.set_labels(HUB, contact, firm, 3, &[(33, "Decision maker"), (31, "Billing contact")]));
    assert!(!world.set_labels(HUB, contact, firm, 4, &[(31, "Billing contact"), (33, "Decision maker")]));
    let labeled = AssociationType::labeled(31, "Billing contact");
    let types = [AssociationType::primary(), AssociationType::unlabeled(), labeled];
    assert_eq!(world.links(HUB)[&contact][0].types[..3], types);
    assert!(world.set_labels(HUB, contact, firm, 5, &[(35, "Former employer")]));
    assert_eq!(links_of(&world, contact), [(firm, vec![1, 279, 35]), (bank, vec![279])]);
    world.associate(HUB, contact, vec![bank, firm, bank]);
    assert_eq!(links_of(&world, contact), [(bank, vec![1, 279]), (firm, vec![279, 35])], "it keeps its label");
    assert!(world.set_labels(HUB, contact, firm, 6, &[]));
    assert_eq!(links_of(&world, contact)[1], (firm, vec![279]));
    assert_eq!(modified_at(&world, contact), 1);
}

#[test]
fn deleted_record_loses_its_links_for_good() {
    let (mut world, contact, [firm, bank]) = with_two_companies();
    assert!(world.archive(HUB, Object::COMPANIES, firm, 3) && world.restore(HUB, Object::COMPANIES, firm, 4));
    assert_eq!((links_of(&world, contact), modified_at(&world, contact)), (vec![(bank, vec![279])], 1));
    assert!(world.archive(HUB, Object::CONTACTS, contact, 5));
    assert!(world.links(HUB).is_empty(), "it has none, and is not in the list");
    assert!(world.restore(HUB, Object::CONTACTS, contact, 6));
    assert!(world.links(HUB)[&contact].is_empty());
}

#[test]
fn links_of_a_merged_company_move_to_the_survivor() {
    for mint in [false, true] {
        let (mut world, both, [winner, loser]) = with_two_companies();
        let [one] = create(&mut world, Object::CONTACTS);
        assert!(world.link(HUB, one, loser, 2) && world.set_labels(HUB, one, loser, 2, &[(31, "Billing contact")]));
        assert!(world.set_labels(HUB, both, loser, 2, &[(33, "Decision maker")]));
        let survivor = world.merge(HUB, Object::COMPANIES, (winner, loser), 3, mint).unwrap();
        assert_eq!(links_of(&world, both), [(survivor, vec![1, 279, 33])], "there is one link, with the types of both");
        assert_eq!(links_of(&world, one), [(survivor, vec![1, 279, 31])]);
        assert_eq!((modified_at(&world, both), modified_at(&world, one)), (1, 1));
    }
}

#[test]
fn merged_contact_has_the_links_of_both_and_one_primary_company() {
    for mint in [false, true] {
        let (mut world, winner, [firm, bank]) = with_two_companies();
        let ([loser], [mill]) = (create(&mut world, Object::CONTACTS), create(&mut world, Object::COMPANIES));
        assert!(world.link(HUB, loser, bank, 2) && world.link(HUB, loser, mill, 2));
        let survivor = world.merge(HUB, Object::CONTACTS, (winner, loser), 3, mint).unwrap();
        let expected = [(firm, vec![1, 279]), (bank, vec![279]), (mill, vec![279])];
        assert_eq!((&links_of(&world, survivor)[..], world.links(HUB).len()), (&expected[..], 1));
    }
}

#[test]
fn random_changes_of_all_kinds_leave_links_in_order() {
    let mut made = BTreeSet::new();
    for seed in 0..40 {
        let mut world = world();
        world.seed(HUB, 12, 40, seed);
        for round in 0..30 {
            // Each round has a millisecond of its own.
            world.settings.clock_offset_ms += 10;
            made.extend(world.change_links(HUB, &LinkChange::ALL, 4, seed * 100 + round).into_keys());
        }
        let (companies, erased) = (world.ids(HUB, Object::COMPANIES), world.erased(HUB));
        let links = world.links(HUB);
        assert!(links.keys().all(|contact| !erased.contains(&(Object::CONTACTS, *contact))));
        for links in links.values() {
            assert!(links.iter().all(|link| companies.contains(&link.company)), "{links:?}");
            assert!(links.iter().all(|link| link.types.contains(&AssociationType::unlabeled())), "{links:?}");
            assert!(links.iter().skip(1).all(|link| !link.is_primary()), "{links:?}");
            let ids: BTreeSet<u64> = links.iter().map(|link| link.company).collect();
            assert_eq!(ids.len(), links.len(), "{links:?}");
        }
    }
    assert_eq!(made, LinkChange::ALL.into());
}

#[test]
fn the_same_seed_makes_the_same_changes() {
    let links = |seed| {
        let mut world = world();
        world.seed(HUB, 12, 40, 1);
        world.change_links(HUB, &[LinkChange::Link, LinkChange::Unlink, LinkChange::Relabel], 20, seed);
        world.links(HUB)
    };
    assert_eq!(links(2), links(2));
    assert_ne!(links(2), links(3));
}
