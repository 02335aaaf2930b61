//! Owners (the users to whom records are assigned) and pipelines (the stages that records go through).

use crate::{
    object::Object,
    owner::{Owner, Pipeline},
    world::{Portal, World},
};

impl World {
    /// Adds a user to an account, and returns the id.
    pub fn add_owner(&mut self, hub_id: u64, email: &str, first_name: &str, last_name: &str) -> u64 {
        let owners = &mut self.portal(hub_id).owners;
        let id = owners.last().map_or(101, |owner| owner.id + 1);
        owners.push(Owner::new(id, email, first_name, last_name));
        id
    }

    /// Removes a user from an account: only the list of archived owners has it from then on. Returns false if there is no
    /// such user.
    pub fn archive_owner(&mut self, hub_id: u64, id: u64) -> bool {
        let found = self.portal(hub_id).owners.iter_mut().find(|owner| owner.id == id && !owner.archived);
        found.map(|owner| owner.archived = true).is_some()
    }

    /// Replaces the pipelines of an object type.
    pub fn set_pipelines(&mut self, hub_id: u64, object: Object, pipelines: Vec<Pipeline>) {
        self.portal(hub_id).pipelines.insert(object, pipelines);
    }
}

impl Portal {
    /// Returns the pipelines of an object type.
    pub(crate) fn pipelines(&mut self, object: Object) -> &[Pipeline] {
        self.pipelines.entry(object).or_insert_with(|| standard(object))
    }
}

/// Returns the pipeline of a new account, for the types that have one.
fn standard(object: Object) -> Vec<Pipeline> {
    let (id, label, stages): (_, _, &[(&str, &str)]) = match object.name() {
        "deals" => (
            "default",
            "Sales Pipeline",
            &[
                ("appointmentscheduled", "Appointment Scheduled"),
                ("contractsent", "Contract Sent"),
                ("closedwon", "Closed Won"),
                ("closedlost", "Closed Lost"),
            ],
        ),
        "tickets" => {
            let stages = &[("1", "New"), ("2", "Waiting on contact"), ("3", "Waiting on us"), ("4", "Closed")];
            ("0", "Support Pipeline", stages)
        }
        _ => return Vec::new(),
    };
    let stages = stages.iter().map(|(id, label)| ((*id).to_owned(), (*label).to_owned())).collect();
    vec![Pipeline { id: id.to_owned(), label: label.to_owned(), stages }]
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{HUB, get, grant, start};

    #[tokio::test]
    async fn owners_are_listed_in_pages_and_those_who_left_apart() {
        let simulator = start().await;
        assert_eq!(get(&simulator, "/crm/owners/2026-09").await.0, 403);
        grant(&mut simulator.world(), &["crm.objects.owners.read"]);
        let bob = simulator.world().add_owner(HUB, "bob@firm.example", "Bob", "Park");
        assert!(simulator.world().archive_owner(HUB, 102) && !simulator.world().archive_owner(HUB, 102));
        let (_, first) = get(&simulator, "/crm/owners/2026-09?limit=1").await;
        assert_eq!((&first["results"][0]["id"], first["results"].as_array().unwrap().len()), (&json!("101"), 1));
        let after = first["paging"]["next"]["after"].as_str().unwrap();
        let (_, second) = get(&simulator, &format!("/crm/v3/owners/?limit=1&after={after}")).await;
        assert_eq!((&second["results"][0]["id"], &second["paging"]), (&json!(bob.to_string()), &Value::Null));
        assert_eq!(second["results"][0]["email"], "bob@firm.example");
        let (_, left) = get(&simulator, "/crm/owners/2026-09?archived=true").await;
        assert_eq!((&left["results"][0]["id"], &left["results"][0]["archived"]), (&json!("102"), &json!(true)));
    }

    #[tokio::test]
    async fn pipelines_are_those_of_the_type() {
        let simulator = start().await;
        let read = async |path: &str| get(&simulator, path).await.1["results"].clone();
        let deals = read("/crm/pipelines/2026-09/deals").await;
        assert_eq!(
            (&deals[0]["id"], &deals[0]["stages"][0]["id"]),
            (&json!("default"), &json!("appointmentscheduled"))
        );
        assert_eq!(read("/crm/v3/pipelines/0-5").await[0]["stages"][3]["label"], "Closed");
        assert_eq!(read("/crm/pipelines/2026-09/notes").await, json!([]));
        let stages = vec![("a".to_owned(), "A".to_owned())];
        let pipeline = Pipeline { id: "long".to_owned(), label: "Long".to_owned(), stages };
        simulator.world().set_pipelines(HUB, Object::DEALS, vec![pipeline]);
        assert_eq!(read("/crm/pipelines/2026-09/deals").await[0]["label"], "Long");
    }
}
