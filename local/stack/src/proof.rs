//! The proof that nothing was lost and nothing stored twice: MongoDB compared with the simulator's ledger.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::{Result, bail};
use common::{account::AccountKey, changes::COMPANY_IDS, store::collection};
use futures::TryStreamExt;
use hubspot_sim::{Change, Object};
use mongodb::{
    Database,
    bson::{Bson, Document, doc},
};

/// What is wrong in MongoDB; each line names a record.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// Actions of the account.
    pub actions: usize,
    /// Records of the account by the ledger, those in the recycle bin left out.
    pub records: usize,
    /// Records whose last change has no action.
    pub missing: Vec<String>,
    /// Actions that no change in the ledger accounts for.
    pub unknown: Vec<String>,
    /// Records that were not announced as Created once, and first.
    pub not_created_once: Vec<String>,
    /// Records whose current state is not the last one, or has other companies than the record.
    pub stale: Vec<String>,
    /// Records whose actions' changes do not lead from one to the next, and to the current state.
    pub broken: Vec<String>,
}

impl Proof {
    /// Fails where anything is wrong, and says what.
    ///
    /// # Errors
    /// Something is missing, was stored without reason or twice, or is stale.
    pub fn ensure(&self) -> Result<()> {
        let findings = [
            ("lost", &self.missing),
            ("stored without a change", &self.unknown),
            ("not Created once and first", &self.not_created_once),
            ("stale", &self.stale),
            ("with changes that do not follow from each other", &self.broken),
        ];
        let wrong: Vec<String> = findings
            .iter()
            .filter(|(_, found)| !found.is_empty())
            .map(|(what, found)| format!("{} {what}, e.g. {:?}", found.len(), &found[..found.len().min(3)]))
            .collect();
        if wrong.is_empty() { Ok(()) } else { bail!("MongoDB differs from the ledger: {}", wrong.join("; ")) }
    }
}

fn name(object: Object) -> &'static str {
    match object {
        Object::Companies => "companies",
        Object::Contacts => "contacts",
    }
}

/// Compares what MongoDB holds of an account with the ledger of its changes.
///
/// # Errors
/// MongoDB cannot be read.
pub async fn check(database: &Database, account: &AccountKey, ledger: &[Change]) -> Result<Proof> {
    let mut proof = Proof::default();
    let key = |object, id| format!("{account}:{}:{id}", name(object));
    let mut last: BTreeMap<String, &Change> = BTreeMap::new();
    let mut changes: HashSet<String> = HashSet::new();
    for change in ledger {
        let record = key(change.object, change.id);
        changes.insert(format!("{record}:{}", change.at));
        last.insert(record, change);
    }
    last.retain(|_, change| !change.kind.is_gone());
    proof.records = last.len();
    let mine = doc! { "domainId": account.domain_id.as_str(), "hubId": account.hub_id.as_str() };

    // By record: its actions as (modification time, whether it says Created).
    let mut actions: HashMap<String, Vec<(i64, bool)>> = HashMap::new();
    // By record: the values that its properties had last, as far as changes tell.
    let mut values: HashMap<String, HashMap<String, Option<Bson>>> = HashMap::new();
    let by_time = doc! { "recordUpdatedAt": 1 };
    let mut cursor = database.collection::<Document>(collection::ACTIONS).find(mine.clone()).sort(by_time).await?;
    while let Some(action) = cursor.try_next().await? {
        let id = action.get_str("_id")?;
        if !changes.contains(id) {
            proof.unknown.push(id.to_owned());
        }
        let record = format!("{account}:{}:{}", action.get_str("object")?, action.get_str("recordId")?);
        if !follows(values.entry(record.clone()).or_default(), &action) {
            proof.broken.push(record.clone());
        }
        let at = action.get_datetime("recordUpdatedAt")?.timestamp_millis();
        actions.entry(record).or_default().push((at, action.get_str("actionName")?.ends_with("Created")));
        proof.actions += 1;
    }
    for (record, stored) in &mut actions {
        stored.sort_unstable();
        let created: Vec<usize> = (0..stored.len()).filter(|index| stored[*index].1).collect();
        if created != [0] {
            proof.not_created_once.push(record.clone());
        }
    }
    for (record, change) in &last {
        if actions.get(record).is_none_or(|stored| stored.iter().all(|(at, _)| *at != change.at)) {
            proof.missing.push(format!("{record}:{}", change.at));
        }
    }
    for object in [Object::Companies, Object::Contacts] {
        let mut states: HashMap<String, i64> = HashMap::new();
        let mut cursor = database.collection::<Document>(name(object)).find(mine.clone()).await?;
        while let Some(state) = cursor.try_next().await? {
            let record = state.get_str("_id")?;
            states.insert(record.to_owned(), state.get_datetime("updatedAt")?.timestamp_millis());
            let differs = |(name, value): (&String, &Option<Bson>)| value_of(&state, name) != value.as_ref();
            if values.get(record).is_some_and(|values| values.iter().any(differs)) {
                proof.broken.push(record.to_owned());
            }
        }
        let stale = last.iter().filter(|(_, change)| change.object == object);
        let stale = stale.filter(|(record, change)| states.get(*record) != Some(&change.at));
        proof.stale.extend(stale.map(|(record, _)| record.clone()));
    }
    Ok(proof)
}

/// Takes note of what an action changed; `false` where it says that a value was another one before than it was.
fn follows(values: &mut HashMap<String, Option<Bson>>, action: &Document) -> bool {
    let Ok(changes) = action.get_document("changes") else { return true };
    let side = |change: &Bson, name| change.as_document().and_then(|sides| sides.get(name)).cloned();
    changes.iter().fold(true, |follows, (name, change)| {
        let before = values.insert(name.clone(), side(change, "to"));
        follows && before.is_none_or(|before| before == side(change, "from"))
    })
}

fn value_of<'a>(state: &'a Document, name: &str) -> Option<&'a Bson> {
    match name {
        COMPANY_IDS => state.get(name).filter(|ids| ids.as_array().is_some_and(|ids| !ids.is_empty())),
        _ => state.get_document("properties").ok()?.get(name),
    }
}
