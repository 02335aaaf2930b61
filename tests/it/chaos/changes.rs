//! What happens in HubSpot meanwhile, at random.

use anyhow::Result;
use harness::world::HUB;
use hubspot_sim::{
    LinkChange, Object, Shared,
    odd::{BYTE, CONTROL, HALF},
};
use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};

/// What JSON, UTF-8 or SQS do not allow.
const ODD: [char; 5] = [BYTE, CONTROL, HALF, '\u{fffe}', '\u{ffff}'];

/// Returns object types besides companies and contacts: one with merges, one without, and a custom one.
pub(super) fn others() -> Result<[Object; 3]> {
    Ok([Object::DEALS, "products".parse()?, "2-7654321".parse()?])
}

/// An account. Most changes are in the world's own, which has more records.
fn any_hub(hubspot: &hubspot_sim::World, random: &mut StdRng) -> u64 {
    let last = hubspot.ledger.iter().map(|change| change.hub_id).max().unwrap_or(HUB);
    if random.random_bool(0.6) { HUB } else { random.random_range(HUB..=last) }
}

/// Companies, contacts, or an object type that the account has beside them.
fn any_object(hubspot: &mut hubspot_sim::World, hub: u64, random: &mut StdRng) -> Object {
    let mut objects = vec![Object::COMPANIES, Object::CONTACTS];
    let others = others().into_iter().flatten();
    objects.extend(others.filter(|object| !hubspot.ids(hub, *object).is_empty()));
    *objects.choose(random).unwrap_or(&Object::CONTACTS)
}

/// A few changes in HubSpot.
pub(super) fn change(hubspot: &Shared, random: &mut StdRng) {
    let mut hubspot = hubspot_sim::lock(hubspot);
    let hub = any_hub(&hubspot, random);
    let object = any_object(&mut hubspot, hub, random);
    for _ in 0..random.random_range(1..12) {
        let (ids, at) = (hubspot.ids(hub, object), hubspot.now());
        let pick = |random: &mut StdRng| ids.choose(random).copied().unwrap_or_default();
        let (one, other) = (pick(random), pick(random));
        match random.random_range(0..12) {
            0..2 => {
                let id = hubspot.create(hub, object, at, Default::default());
                let companies: Vec<u64> = hubspot.ids(hub, Object::COMPANIES).into_iter().take(3).collect();
                if object == Object::CONTACTS {
                    hubspot.associate(hub, id, companies);
                } else if is_linked(object) {
                    companies.into_iter().for_each(|company| link(&mut hubspot, hub, (object, id), company, at));
                }
            }
            2..7 => {
                // One text in twenty holds what JSON, UTF-8 or SQS do not allow.
                let odd = ODD.choose(random).filter(|_| random.random_bool(0.05));
                let text = format!("{}{}", random.random_range(0..9), odd.map_or(String::new(), char::to_string));
                hubspot.update(hub, object, one, at, &[("hs_lead_status", &text)]);
            }
            7 => {
                hubspot.archive(hub, object, one, at);
            }
            8 => {
                let gone = hubspot.archived(hub, object);
                let id = gone.choose(random).copied().unwrap_or_default();
                hubspot.restore(hub, object, id, at);
            }
            9 => {
                hubspot.merge(hub, object, (one, other), at, random.random_bool(0.5));
            }
            10 if is_linked(object) => {
                let companies = hubspot.ids(hub, Object::COMPANIES);
                let company = companies.choose(random).copied().unwrap_or_default();
                if !hubspot.unlink_records(hub, (object, one), (Object::COMPANIES, company), at) {
                    link(&mut hubspot, hub, (object, one), company, at);
                }
            }
            _ => {
                let change = *LinkChange::ALL.choose(random).unwrap_or(&LinkChange::Link);
                hubspot.change_link(hub, change, random);
            }
        }
    }
}

/// Returns true for object types other than contacts whose associations with companies are read.
fn is_linked(object: Object) -> bool {
    ![Object::COMPANIES, Object::CONTACTS].contains(&object) && object.name() != "products"
}

fn link(hubspot: &mut hubspot_sim::World, hub: u64, record: (Object, u64), company: u64, at: i64) {
    hubspot.link_records(hub, record, (Object::COMPANIES, company), at);
}

/// HubSpot counts what it does not show, or has no answer for some of its records.
pub(super) fn be_odd(hubspot: &Shared, random: &mut StdRng) {
    let mut hubspot = hubspot_sim::lock(hubspot);
    let object = any_object(&mut hubspot, HUB, random);
    let ids = hubspot.ids(HUB, object);
    let some: Vec<u64> = ids.sample(random, 2).copied().collect();
    let at = hubspot.now() - random.random_range(0..600_000);
    match random.random_range(0..6) {
        0 => hubspot.settings.ghosts.push(at),
        1 => hubspot.settings.unanswerable = some,
        2 => hubspot.settings.unshowable = some,
        3 => hubspot.settings.companies_fail = some,
        4 => hubspot.settings.latency_ms = 40,
        _ => hubspot.settings.without_companies = some,
    }
}
