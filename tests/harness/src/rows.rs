//! The object types that the tests of faults read: one of each kind, as lanes of one account.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use hubspot::API_VERSION;
use hubspot_sim::{Fault, FaultKind, Object};
use model::object::ObjectType;
use mongodb::bson::{Document, doc};

use crate::{
    service::Service,
    world::{HUB, World},
};

/// A custom object.
pub const CARS: Object = Object::of("2-7654321");

/// Contacts, a row of the catalogue with merges, one without merges and associations, and a custom object.
pub const ROWS: [Object; 4] = [Object::CONTACTS, Object::DEALS, Object::PRODUCTS, CARS];

/// The number of lanes of an account with companies and [`ROWS`].
pub const LANES: u32 = 5;

/// Those of [`ROWS`] whose records can be merged.
pub const MERGEABLE: [Object; 3] = [Object::CONTACTS, Object::DEALS, CARS];

/// Those of [`ROWS`] whose records have associations, with companies among others.
pub const LINKED: [Object; 3] = [Object::CONTACTS, Object::DEALS, CARS];

/// Returns the name of a text property that is read of an object type in a world of [`World::of`].
pub fn text_of(object: Object) -> &'static str {
    match object {
        Object::CONTACTS => "jobtitle",
        Object::DEALS => "dealname",
        CARS => "model",
        // Companies and products have the same.
        _ => "name",
    }
}

/// The path of the searches of a lane, for [`World::fault_each`].
pub const SEARCH: &str = "/{}/search";

/// The path of the reads of the associations of a lane's records.
pub const ASSOCIATIONS: &str = "/associations/{version}/{}/";

/// The path of the reads of a lane's records by their ids.
pub const BY_ID: &str = "/objects/{version}/{}/batch/read";

/// Returns what one record is called in the names of actions: `Deal`.
///
/// # Errors
/// The service does not know the object type.
pub fn label_of(object: Object) -> Result<String> {
    Ok(ObjectType::parse(object.name())?.label().to_owned())
}

impl World {
    /// Creates a world as [`World::new`] does, whose account has companies and these object types.
    ///
    /// # Errors
    /// The servers do not respond.
    pub async fn of(name: &str, objects: &[Object]) -> Result<Self> {
        let world = Self::new(name).await?;
        world.choose_with_companies(objects).await?;
        Ok(world)
    }

    /// Chooses companies and these object types in the account's entry, with the properties of [`text_of`].
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn choose_with_companies(&self, objects: &[Object]) -> Result<()> {
        self.choose(&[&[Object::COMPANIES], objects].concat()).await?;
        // A custom object has no properties unless they are chosen.
        self.change_entry("properties", doc! { CARS.name(): [text_of(CARS)] }.into()).await
    }

    /// Fills the account with companies, and with `each` records of each of these object types. Each of them is associated
    /// with a company, if its type has associations.
    pub fn fill(&self, companies: usize, objects: &[Object], each: usize, seed: u64) {
        let mut hubspot = self.hubspot.world();
        hubspot.seed(HUB, companies, 0, seed);
        let (firms, at) = (hubspot.ids(HUB, Object::COMPANIES), hubspot.now());
        for object in objects {
            hubspot.seed_objects(HUB, *object, each, seed);
            // Contacts have companies from the seed.
            if *object == Object::CONTACTS || !LINKED.contains(object) {
                continue;
            }
            for (record, firm) in hubspot.ids(HUB, *object).into_iter().zip(firms.iter().cycle()) {
                hubspot.link_records(HUB, (*object, record), (Object::COMPANIES, *firm), at);
            }
        }
    }

    /// Creates a record of each of these object types, which was modified `millis` ago. Returns their ids.
    pub fn create_each(&self, objects: &[Object], millis: i64) -> Vec<u64> {
        let mut hubspot = self.hubspot.world();
        let at = hubspot.now() - millis;
        let create = |object: &Object| {
            let properties = BTreeMap::from([(text_of(*object).to_owned(), "Ana".to_owned())]);
            hubspot.create(HUB, *object, at, properties)
        };
        objects.iter().map(create).collect()
    }

    /// Returns the ids of the records of an object type, without those in the recycle bin.
    pub fn ids(&self, object: Object) -> Vec<u64> {
        self.hubspot.world().ids(HUB, object)
    }

    /// Causes a fault for each of these object types by itself: in the next requests to HubSpot whose path contains `path`,
    /// in which `{}` stands for the object type, and `{version}` for the version of HubSpot's API.
    pub fn fault_each(&self, path: &str, objects: &[Object], times: u32, kind: &FaultKind) {
        let faults = objects.iter().map(|object| {
            let path = path.replace("{version}", API_VERSION).replace("{}", object.name());
            Fault { path, skip: 0, times, kind: kind.clone() }
        });
        self.hubspot.world().faults.extend(faults);
    }

    /// Returns an object type's lane in the checkpoint.
    ///
    /// # Errors
    /// There is none.
    pub async fn lane(&self, object: Object) -> Result<Document> {
        Ok(self.checkpoint().await?.get_document("lanes")?.get_document(object.name())?.clone())
    }

    /// Returns the current states of the records of an object type.
    ///
    /// # Errors
    /// MongoDB cannot be read.
    pub async fn states_of(&self, object: Object) -> Result<Vec<Document>> {
        self.all(&ObjectType::parse(object.name())?.collection()).await
    }

    /// Returns the current state of a record. Returns `None` if there is none.
    ///
    /// # Errors
    /// MongoDB cannot be read.
    pub async fn state_of(&self, object: Object, id: u64) -> Result<Option<Document>> {
        let states = self.store.database().collection::<Document>(&ObjectType::parse(object.name())?.collection());
        Ok(states.find_one(doc! { "recordId": id.to_string() }).await?)
    }

    /// Returns a property of a record's current state.
    ///
    /// # Errors
    /// The record is not stored, or has no such property.
    pub async fn stored_text(&self, object: Object, id: u64, property: &str) -> Result<String> {
        let state = self.state_of(object, id).await?;
        let state = state.with_context(|| format!("{id} of {} is not there", object.name()))?;
        Ok(state.get_document("properties")?.get_str(property)?.to_owned())
    }
}

impl Service {
    /// Starts one worker of each function, for a new account with `each` companies and records of each of [`ROWS`].
    ///
    /// # Errors
    /// The servers do not respond, or the workers cannot be started.
    pub async fn of_rows(name: &str, each: usize) -> Result<Self> {
        let world = World::of(name, &ROWS).await?;
        world.fill(each, &ROWS, each, 1);
        Self::new(world, 1, 1).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_one_of_each_kind() {
        let row = |object: &Object| ObjectType::parse(object.name()).unwrap().spec();
        let of = |is: fn(&model::catalogue::ObjectSpec) -> bool| -> Vec<Object> {
            ROWS.into_iter().filter(|object| is(row(object))).collect()
        };
        assert_eq!(usize::try_from(LANES), Ok(ROWS.len() + 1));
        assert_eq!(of(|row| row.merges), MERGEABLE);
        assert_eq!(of(|row| row.associations.contains(&"companies")), LINKED);
        assert!(of(|row| !row.merges && row.has_recycle_bin).len() == 1);
        assert!(ObjectType::parse(CARS.name()).unwrap().is_custom());
    }
}
