//! What is proved of MongoDB in the end: that it equals HubSpot.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result, ensure};
use hubspot_sim::{Link, Object};
use model::object::ObjectType;
use mongodb::bson::{Bson, DateTime, Document, doc};
use stack::proof;
use store::{Erasure, collection};

use crate::world::{HUB, World};

impl World {
    /// Returns the number of requests to HubSpot of this kind and status.
    pub fn requests(&self, kind_and_status: &str) -> u64 {
        self.hubspot.world().requests.get(kind_and_status).copied().unwrap_or_default()
    }

    /// Compares MongoDB with the simulator's ledger. Returns the proof of the world's own account.
    ///
    /// # Errors
    /// They differ, for any of the accounts.
    pub async fn proof(&self) -> Result<proof::Proof> {
        let ledger = self.hubspot.world().ledger.clone();
        let mut proofs = Vec::new();
        for (account, hub) in self.accounts()?.into_iter().zip(self.hubs()) {
            let ledger: Vec<_> = ledger.iter().filter(|change| change.hub_id == hub).cloned().collect();
            let proof = proof::check(self.store.database(), &account, &ledger).await?;
            proof.ensure().with_context(|| account.to_string())?;
            proofs.push(proof);
        }
        Ok(proofs.swap_remove(0))
    }

    /// Requests the erasure of every record that HubSpot has erased, as its webhooks would.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn request_erasures(&self) -> Result<Vec<Erasure>> {
        let mut erasures = Vec::new();
        for (account, hub) in self.accounts()?.into_iter().zip(self.hubs()) {
            for (object, id) in self.hubspot.world().erased(hub) {
                let object = ObjectType::parse(object.name())?;
                erasures.push(Erasure::Record(account.clone(), object, id.to_string().try_into()?));
            }
        }
        self.store.request_erasures(&erasures).await?;
        Ok(erasures)
    }

    /// Carries out the erasure of every record that HubSpot has erased, once more.
    ///
    /// # Errors
    /// MongoDB cannot be reached, or an erasure failed.
    pub async fn erase_what_hubspot_erased(&self) -> Result<()> {
        if self.request_erasures().await?.is_empty() {
            return Ok(());
        }
        let erasures = self.store.database().collection::<Document>(collection::ERASURES);
        // The second time those are erased that were merged into the others.
        for _ in 0..2 {
            erasures.update_many(doc! {}, doc! { "$set": { "repeatAt": DateTime::now() } }).await?;
            let ends = tokio::time::Instant::now() + Duration::from_secs(300);
            let report = self.store.finish_erasures(ends).await?;
            ensure!(report.failed == 0 && report.left == 0, "{report:?}");
        }
        Ok(())
    }

    /// Compares the companies of all contacts with the simulator's.
    ///
    /// # Errors
    /// They differ.
    pub async fn prove_associations(&self) -> Result<()> {
        let mut expected = self.hubspot.world().links(HUB);
        for hub in self.hubs().skip(1) {
            expected.extend(self.hubspot.world().links(hub));
        }
        for state in self.all("contacts").await? {
            let Some(links) = expected.get(&state.get_str("recordId")?.parse()?) else { continue };
            let companies: Vec<String> = links.iter().map(|link| link.company.to_string()).collect();
            let ids = state.get_array("companyIds")?.iter().filter_map(|id| id.as_str());
            ensure!(ids.eq(companies.iter()), "{companies:?} are the companies of {state}");
            let count = |types: usize, link: &Link| types + link.types.len();
            let types = links.iter().fold(0, count);
            let associations = state.get_array("associations").map_or(&[][..], Vec::as_slice);
            let stored =
                associations.iter().filter_map(|link| Some(link.as_document()?.get_array("types").ok()?.len()));
            ensure!(stored.sum::<usize>() == types, "{links:?} are the associations of {state}");
        }
        Ok(())
    }

    /// Compares the associations of all records of an object type with the simulator's.
    ///
    /// # Errors
    /// They differ.
    pub async fn prove_associations_of(&self, object: Object, with: &[Object]) -> Result<()> {
        for state in self.all(&ObjectType::parse(object.name())?.collection()).await? {
            let id: u64 = state.get_str("recordId")?.parse()?;
            if state.contains_key("deletedAt") {
                continue;
            }
            let hubspot = self.hubspot.world();
            let linked =
                |to: Object| hubspot.linked(HUB, (object, id), to).into_iter().map(move |id| (to.to_string(), id));
            let expected: BTreeSet<(String, u64)> = with.iter().copied().flat_map(linked).collect();
            let stored = state.get_array("associations").map_or(&[][..], Vec::as_slice);
            let link = |link: &Bson| {
                let link = link.as_document()?;
                Some((link.get_str("to").ok()?.to_owned(), link.get_str("id").ok()?.parse().ok()?))
            };
            let stored: BTreeSet<(String, u64)> = stored.iter().filter_map(link).collect();
            ensure!(stored == expected, "{expected:?} are the associations of {state}");
        }
        Ok(())
    }
}
