//! Proves that nothing was lost and nothing was stored twice, by comparing MongoDB with the simulator's ledger.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::{Result, bail};
use futures::TryStreamExt;
use hubspot_sim::{Change, ChangeKind, Object};
use model::{
    account::AccountKey,
    changes::{ASSOCIATIONS, COMPANY_IDS},
    object::ObjectType,
};
use mongodb::{
    Database,
    bson::{Bson, Document, doc},
};
use store::collection;

/// The differences between MongoDB and the ledger. Each line names a record.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// How many actions the account has.
    pub actions: usize,
    /// How many of its actions are about associations alone. They are not among `actions`.
    pub associations: usize,
    /// How many are about properties alone that were chosen later. They are not among `actions` either.
    pub chosen_properties: usize,
    /// How many records the account has in the ledger, without those in the recycle bin.
    pub records: usize,
    /// Records whose last change has no action.
    pub missing: Vec<String>,
    /// Actions that no change in the ledger accounts for.
    pub unknown: Vec<String>,
    /// Records that do not have exactly one Created action, as their first one. A record that survives a merge under a
    /// new id needs none.
    pub not_created_once: Vec<String>,
    /// Records whose current state is not the last one, or that were deleted and are not marked as deleted.
    pub stale: Vec<String>,
    /// Records that were erased, of which something personal is stored.
    pub remembered: Vec<String>,
    /// Records whose actions' changes do not lead from one to the next, and to the current state.
    pub broken: Vec<String>,
}

impl Proof {
    /// Fails if there is a difference. The error says which.
    ///
    /// # Errors
    /// Something is missing, was stored without a change or twice, or is stale.
    pub fn ensure(&self) -> Result<()> {
        let findings = [
            ("lost", &self.missing),
            ("stored without a change", &self.unknown),
            ("not Created once and first", &self.not_created_once),
            ("stale", &self.stale),
            ("erased, but remembered", &self.remembered),
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

impl Proof {
    /// Takes a document of an erased record, which must have none of these fields.
    fn forgets(&mut self, record: String, document: &Document, personal: &[&str]) {
        if personal.iter().any(|field| document.contains_key(field)) {
            self.remembered.push(record);
        }
    }

    /// Takes the next action of a record.
    fn takes_action(
        &mut self,
        record: &str,
        held: &mut Held,
        action: &Document,
        expected: &Expected<'_>,
    ) -> Result<()> {
        if !follows(&mut held.values, action) {
            self.broken.push(record.to_owned());
        }
        // No change of the record accounts for these two.
        if action.contains_key("associationsDigest") {
            self.associations += 1;
            return Ok(());
        }
        if action.contains_key("propertiesAt") {
            self.chosen_properties += 1;
            return Ok(());
        }
        let stored = StoredAction::read(action)?;
        let id = action.get_str("_id")?;
        if !expected.changes.contains(id) && !expected.is_action_of_merge(record, held, &stored) {
            self.unknown.push(id.to_owned());
        }
        held.actions.push(stored);
        self.actions += 1;
        Ok(())
    }
}

/// The fields of an action that say something of a person.
const PERSONAL: [&str; 5] = ["identity", "userProperties", "companyProperties", "properties", "changes"];

/// The documents of one record in MongoDB.
#[derive(Default)]
struct Held {
    /// Its actions, the oldest first.
    actions: Vec<StoredAction>,
    /// The last values of its properties, as far as the changes of its actions contain them.
    values: HashMap<String, Option<Bson>>,
    state: State,
}

/// The relevant fields of an action.
struct StoredAction {
    at: i64,
    is_created: bool,
    is_deleted: bool,
}

impl StoredAction {
    fn read(action: &Document) -> Result<Self> {
        let name = action.get_str("actionName")?;
        Ok(Self {
            at: action.get_datetime("recordUpdatedAt")?.timestamp_millis(),
            is_created: name.ends_with("Created"),
            is_deleted: name.ends_with("Deleted"),
        })
    }
}

/// The relevant fields of a current state.
#[derive(Default)]
struct State {
    updated_at: Option<i64>,
    deleted_at: Option<i64>,
    is_merged: bool,
    /// The records that were merged into it.
    took_up: Vec<String>,
}

impl State {
    fn read(state: &Document) -> Self {
        let time = |field: &str| Some(state.get_datetime(field).ok()?.timestamp_millis());
        let properties = state.get_document("properties").ok();
        let took_up = properties.and_then(|properties| properties.get_str("hs_merged_object_ids").ok());
        Self {
            updated_at: time("updatedAt"),
            deleted_at: time("deletedAt"),
            is_merged: state.get_str("mergedInto").is_ok(),
            took_up: took_up.into_iter().flat_map(|ids| ids.split(';')).map(str::to_owned).collect(),
        }
    }

    /// Returns true if the state is the result of this change, the record's last one.
    fn is_as_of(&self, change: &Change) -> bool {
        match change.kind {
            ChangeKind::Archived => self.deleted_at == Some(change.at),
            ChangeKind::Merged => self.is_merged,
            _ => self.updated_at == Some(change.at) && self.deleted_at.is_none(),
        }
    }
}

impl Held {
    /// Returns true if there is an action for this change, the record's last one.
    fn has_action_for(&self, change: &Change) -> bool {
        let alive_at = self.actions.iter().filter(|action| !action.is_deleted).map(|action| action.at).max();
        self.actions.iter().any(|action| match change.kind {
            ChangeKind::Archived => action.is_deleted && action.at == change.at,
            // The record may have been deleted before, and its restoration never read.
            ChangeKind::Merged => action.is_deleted && Some(action.at) >= alive_at,
            _ => !action.is_deleted && action.at == change.at,
        })
    }
}

/// Compares the documents of an account in MongoDB with the ledger of its changes. Returns the differences.
///
/// # Errors
/// MongoDB cannot be read.
pub async fn check(database: &Database, account: &AccountKey, ledger: &[Change]) -> Result<Proof> {
    let expected = Expected::of(account, ledger);
    let mut proof = Proof { records: expected.records(), ..Proof::default() };
    let mine = doc! { "domainId": account.domain_id.as_str(), "hubId": account.hub_id.as_str() };
    let erased = erased(database, &mine).await?;
    let mut held = HashMap::new();
    for action in actions(database, &mine).await? {
        let record = format!("{account}:{}:{}", action.get_str("object")?, action.get_str("recordId")?);
        if erased.contains(&record) {
            proof.forgets(record, &action, &PERSONAL);
        } else {
            proof.takes_action(&record, held.entry(record.clone()).or_default(), &action, &expected)?;
        }
    }
    for name in states(database).await? {
        let mut cursor = database.collection::<Document>(&name).find(mine.clone()).await?;
        while let Some(state) = cursor.try_next().await? {
            let record = state.get_str("_id")?.to_owned();
            if erased.contains(&record) {
                proof.forgets(record, &state, &["properties", "companyIds", "associations", "history"]);
                continue;
            }
            let held: &mut Held = held.entry(record.clone()).or_default();
            held.state = State::read(&state);
            if held.values.iter().any(|(name, value)| value_of(&state, name) != value.as_ref()) {
                proof.broken.push(record);
            }
        }
    }
    proof.not_created_once = not_created_once(&held);
    let nothing = Held::default();
    for (record, change) in expected.last {
        if change.kind == ChangeKind::Erased || erased.contains(&record) {
            if !erased.contains(&record) {
                proof.remembered.push(record);
            }
            continue;
        }
        let held = held.get(&record).unwrap_or(&nothing);
        // HubSpot reports a merge only with the survivor. If that was erased before it was read, nothing reports the merge.
        let is_untold = change.kind == ChangeKind::Merged && !held.state.is_merged;
        if is_untold && expected.erasures.iter().any(|(object, at)| *object == change.object && *at >= change.at) {
            continue;
        }
        // A record that was deleted before it was first read has no action.
        if change.kind.is_gone() && held.actions.is_empty() {
            continue;
        }
        if !held.has_action_for(change) {
            proof.missing.push(format!("{record}:{}", change.at));
        }
        if !held.state.is_as_of(change) {
            proof.stale.push(record);
        }
    }
    Ok(proof)
}

/// Returns the names of the collections with current states.
async fn states(database: &Database) -> Result<Vec<String>> {
    let mut names = database.list_collection_names().await?;
    names.retain(|name| ObjectType::of_collection(name).is_some());
    Ok(names)
}

/// Returns the records that have a tombstone.
async fn erased(database: &Database, mine: &Document) -> Result<HashSet<String>> {
    let mut erased = HashSet::new();
    for name in states(database).await? {
        let mut tombstones = mine.clone();
        tombstones.insert("erasedAt", doc! { "$exists": true });
        let states = database.collection::<Document>(&name);
        let found: Vec<Document> = states.find(tombstones).await?.try_collect().await?;
        erased.extend(found.iter().filter_map(|state| Some(state.get_str("_id").ok()?.to_owned())));
    }
    Ok(erased)
}

/// Returns the actions in the order of their changes. Changes of associations alone, and of properties that were chosen
/// later, come after the record's own change with the same modification time.
async fn actions(database: &Database, mine: &Document) -> Result<Vec<Document>> {
    // Actions about definitions of properties are no record's.
    let of_records = doc! { "$and": [mine.clone(), { "object": { "$ne": "schemas" } }] };
    let found = database.collection::<Document>(collection::ACTIONS).find(of_records).await?;
    let mut actions: Vec<Document> = found.try_collect().await?;
    actions.sort_by_cached_key(|action| {
        let time = |name: &str| action.get_datetime(name).ok().copied();
        let is_alone = action.contains_key("associationsDigest") || action.contains_key("propertiesAt");
        (time("recordUpdatedAt"), is_alone, time("actionDate").filter(|_| is_alone))
    });
    Ok(actions)
}

/// What the ledger requires.
struct Expected<'a> {
    /// The last change of each record.
    last: BTreeMap<String, &'a Change>,
    /// The `_id`s of the actions of all changes but merges.
    changes: HashSet<String>,
    /// When records were erased.
    erasures: Vec<(Object, i64)>,
    /// When each loser of a merge was merged.
    merged: HashMap<String, i64>,
}

impl<'a> Expected<'a> {
    fn of(account: &AccountKey, ledger: &'a [Change]) -> Self {
        let (mut last, mut changes, mut merged) = (BTreeMap::new(), HashSet::new(), HashMap::new());
        for change in ledger {
            let record = format!("{account}:{}:{}", change.object, change.id);
            match change.kind {
                ChangeKind::Merged => drop(merged.insert(record.clone(), change.at)),
                ChangeKind::Archived => drop(changes.insert(format!("{record}:{}:deleted", change.at))),
                _ => drop(changes.insert(format!("{record}:{}", change.at))),
            }
            last.insert(record, change);
        }
        let erased = ledger.iter().filter(|change| change.kind == ChangeKind::Erased);
        let erasures = erased.map(|change| (change.object, change.at)).collect();
        Self { last, changes, erasures, merged }
    }

    /// Returns how many records are not deleted.
    fn records(&self) -> usize {
        self.last.values().filter(|change| !change.kind.is_gone()).count()
    }

    /// Returns true if the action is for the record's merge. A merge has one such action, at some time after it.
    fn is_action_of_merge(&self, record: &str, held: &Held, action: &StoredAction) -> bool {
        self.merged.get(record).is_some_and(|at| {
            let is_known = held.actions.iter().any(|other| other.is_deleted && other.at >= *at);
            action.is_deleted && action.at >= *at && !is_known
        })
    }
}

/// Returns the records that do not have exactly one Created action, as their first one.
fn not_created_once(held: &HashMap<String, Held>) -> Vec<String> {
    let has_actions = |record: &str| held.get(record).is_some_and(|held| !held.actions.is_empty());
    let is_wrong = |(record, held): &(&String, &Held)| {
        // A record that was deleted just before its first action has only a Deleted action, until it is restored.
        let alive: Vec<&StoredAction> = held.actions.iter().filter(|action| !action.is_deleted).collect();
        let created: Vec<usize> = (0..alive.len()).filter(|index| alive[*index].is_created).collect();
        // A record that survived a merge under a new id is not new.
        let survives = |id: &String| has_actions(&format!("{}:{id}", record.rsplit_once(':').unwrap_or_default().0));
        let is_known = alive.is_empty() || held.state.took_up.iter().any(survives);
        created != [0] && !(created.is_empty() && is_known)
    };
    let known = held.iter().filter(|(record, _)| has_actions(record));
    known.filter(is_wrong).map(|(record, _)| record.clone()).collect()
}

/// Applies an action's changes to the values. Returns false if the action has another earlier value for one of them.
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
        ASSOCIATIONS => state.get(name),
        _ => state.get_document("properties").ok()?.get(name),
    }
}
