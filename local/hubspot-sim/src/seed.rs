//! Plausible data, the same for the same seed. All domains end in `.example`, and no person in it exists.

mod objects;

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{object::Object, world::World};

const DAY_MILLIS: i64 = 86_400_000;
const STEMS: [&str; 16] = [
    "Aurora",
    "Bluewater",
    "Cedar",
    "Delta",
    "Ember",
    "Fjord",
    "Granite",
    "Harbour",
    "Ídolo",
    "Juniper",
    "Kōyō",
    "Lumen",
    "Móvil",
    "Nordlys",
    "Ørsund",
    "Πλειάδες",
];
const KINDS: [&str; 10] =
    ["Analytics", "Robotics", "Foods", "Logistics", "Health", "Energie", "Studios", "& Söhne", "Systems", "合同会社"];
const INDUSTRIES: [&str; 6] = [
    "COMPUTER_SOFTWARE",
    "FOOD_PRODUCTION",
    "HOSPITAL_HEALTH_CARE",
    "LOGISTICS_AND_SUPPLY_CHAIN",
    "RENEWABLES_ENVIRONMENT",
    "DESIGN",
];
const COUNTRIES: [&str; 8] = ["Germany", "United States", "Japan", "Brasil", "Norway", "Ελλάδα", "France", "India"];
const FIRST_NAMES: [&str; 16] = [
    "Ana",
    "Björn",
    "Chloé",
    "Dmitri",
    "Eun-ji",
    "Fatima",
    "Gábor",
    "Hana",
    "Igor",
    "José",
    "Κατερίνα",
    "Łukasz",
    "Mei",
    "Nuria",
    "Oluwaseun",
    "石田",
];
const LAST_NAMES: [&str; 16] = [
    "Quintero",
    "Lindqvist",
    "O'Neill",
    "Novák",
    "Park",
    "Haddad",
    "Nagy",
    "Tanaka",
    "Petrov",
    "García-López",
    "Papadopoulou",
    "Żak",
    "Chen",
    "Ferrer",
    "Adeyemi",
    "美咲",
];
const TITLES: [&str; 6] = ["CTO", "Head of Sales", "Buyer", "Geschäftsführerin", "Data Engineer", "Office Manager"];
const STATUSES: [&str; 4] = ["NEW", "OPEN", "IN_PROGRESS", "CONNECTED"];
const SOURCES: [&str; 5] = ["OFFLINE", "ORGANIC_SEARCH", "DIRECT_TRAFFIC", "EMAIL_MARKETING", "PAID_SOCIAL"];

/// The numbers of records that a call created and changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Changed {
    /// Records created.
    pub created: usize,
    /// Records modified.
    pub updated: usize,
}

impl World {
    /// Fills an account with records created within the last two years, the latest an hour ago.
    pub fn seed(&mut self, hub_id: u64, companies: usize, contacts: usize, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed ^ hub_id);
        let latest = self.now() - DAY_MILLIS / 24;
        for _ in 0..companies {
            let at = latest - random.random_range(0..730 * DAY_MILLIS);
            let properties = company(&mut random, self.ledger.len());
            let id = self.create(hub_id, Object::COMPANIES, at, properties);
            self.age(hub_id, Object::COMPANIES, id, at, latest, &mut random);
        }
        for _ in 0..contacts {
            let at = latest - random.random_range(0..730 * DAY_MILLIS);
            let id = self.add_contact(hub_id, at, &mut random);
            self.age(hub_id, Object::CONTACTS, id, at, latest, &mut random);
        }
    }

    /// Makes `count` changes now, each to another record: four of five modify one, the others create one.
    pub fn make_changes(&mut self, hub_id: u64, count: usize, seed: u64) -> Changed {
        let mut random = StdRng::seed_from_u64(seed ^ hub_id);
        let mut existing: Vec<(Object, u64)> = Vec::new();
        for object in [Object::COMPANIES, Object::CONTACTS] {
            existing.extend(self.ids(hub_id, object).into_iter().map(|id| (object, id)));
        }
        let mut changed = Changed::default();
        for index in 0..count {
            let at = self.now();
            if index % 5 == 4 || existing.is_empty() {
                if random.random_bool(0.2) {
                    let properties = company(&mut random, self.ledger.len());
                    self.create(hub_id, Object::COMPANIES, at, properties);
                } else {
                    self.add_contact(hub_id, at, &mut random);
                }
                changed.created += 1;
            } else {
                let (object, id) = existing.swap_remove(random.random_range(0..existing.len()));
                let status = STATUSES[random.random_range(0..STATUSES.len())];
                changed.updated += usize::from(self.update(hub_id, object, id, at, &[("hs_lead_status", status)]));
            }
        }
        changed
    }

    fn add_contact(&mut self, hub_id: u64, at: i64, random: &mut StdRng) -> u64 {
        let companies = self.ids(hub_id, Object::COMPANIES);
        let properties = contact(random, self.ledger.len());
        let id = self.create(hub_id, Object::CONTACTS, at, properties);
        // One in ten has no company, one in ten a second one.
        let number = match random.random_range(0..10) {
            _ if companies.is_empty() => 0,
            0 => 0,
            1 => 2,
            _ => 1,
        };
        let mut chosen: Vec<u64> = (0..number).map(|_| companies[random.random_range(0..companies.len())]).collect();
        chosen.dedup();
        self.associate(hub_id, id, chosen);
        id
    }

    /// Modifies the record in half of the calls, at a random time after `created`.
    fn age(&mut self, hub_id: u64, object: Object, id: u64, created: i64, latest: i64, random: &mut StdRng) {
        if random.random_bool(0.5) && created < latest {
            let at = random.random_range(created + 1..=latest);
            self.update(
                hub_id,
                object,
                id,
                at,
                &[("hs_lead_status", STATUSES[random.random_range(0..STATUSES.len())])],
            );
        }
    }
}

fn pick<'a>(random: &mut StdRng, from: &[&'a str]) -> &'a str {
    from[random.random_range(0..from.len())]
}

fn filled(properties: impl IntoIterator<Item = (&'static str, String)>) -> BTreeMap<String, String> {
    properties
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn company(random: &mut StdRng, number: usize) -> BTreeMap<String, String> {
    let name = format!("{} {}", pick(random, &STEMS), pick(random, &KINDS));
    filled([
        ("name", name.clone()),
        ("domain", format!("company-{number}.example")),
        ("country", pick(random, &COUNTRIES).to_owned()),
        ("industry", if random.random_bool(0.8) { pick(random, &INDUSTRIES).to_owned() } else { String::new() }),
        ("description", if random.random_bool(0.3) { format!("“{name}” – since 1987") } else { String::new() }),
        (
            "annualrevenue",
            if random.random_bool(0.6) { random.random_range(10_000..90_000_000).to_string() } else { String::new() },
        ),
        (
            "numberofemployees",
            if random.random_bool(0.7) { random.random_range(1..9_000).to_string() } else { String::new() },
        ),
    ])
}

fn contact(random: &mut StdRng, number: usize) -> BTreeMap<String, String> {
    let email = if random.random_bool(0.93) { format!("contact-{number}@company.example") } else { String::new() };
    filled([
        ("firstname", pick(random, &FIRST_NAMES).to_owned()),
        ("lastname", if random.random_bool(0.95) { pick(random, &LAST_NAMES).to_owned() } else { String::new() }),
        ("jobtitle", if random.random_bool(0.7) { pick(random, &TITLES).to_owned() } else { String::new() }),
        ("email", email),
        ("hubspotscore", if random.random_bool(0.5) { random.random_range(0..100).to_string() } else { String::new() }),
        ("hs_lead_status", if random.random_bool(0.6) { pick(random, &STATUSES).to_owned() } else { String::new() }),
        ("hs_analytics_source", pick(random, &SOURCES).to_owned()),
        ("hs_latest_source", pick(random, &SOURCES).to_owned()),
    ])
}
