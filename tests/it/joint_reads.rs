//! Reads of associations that wait for their limit at the same time become one request.

use std::{collections::BTreeSet, num::NonZeroU32, time::Duration};

use anyhow::{Context as _, Result, ensure};
use futures::future::join_all;
use harness::world::HUB;
use hubspot::{AssociationInput, Associations, HubSpot, HubSpotError, Limits, Session, Tally};
use hubspot_sim::{Fault, FaultKind, Object, Settings, Simulator};
use model::{association::Association, checkpoint::RateLimitState, ids::RecordId, object::ObjectType};
use secrecy::SecretString;
use tokio::time::Instant;

const COMPANIES: ObjectType = ObjectType::COMPANIES;
const CONTACTS: ObjectType = ObjectType::CONTACTS;

/// How many contacts a page has.
const PAGE: usize = 100;

/// An account with contacts, and a session that may read associations once a second.
struct Portal {
    hubspot: Simulator,
    session: Session,
    contacts: Vec<u64>,
}

impl Portal {
    async fn new(contacts: usize) -> Result<Self> {
        let hubspot = Simulator::start(0, Settings::unlimited()).await?;
        hubspot.world().seed(HUB, 50, contacts, 1);
        let token = SecretString::from(hubspot.world().portal(HUB).private_token.clone());
        let many = NonZeroU32::new(1_000).context("it is not zero")?;
        // Eight in ten seconds are one in each second.
        let associations_per_10s = NonZeroU32::new(8).context("it is not zero")?;
        let limits = Limits { search_rps: many, per_10s: many, associations_per_10s };
        let client = HubSpot::new(&hubspot.url())?;
        let session = Session::new(client, token, limits, &RateLimitState::default(), Tally::default().into());
        let contacts = hubspot.world().ids(HUB, Object::CONTACTS);
        Ok(Self { hubspot, session, contacts })
    }

    /// Reads the associations of contacts.
    async fn read(&self, contacts: &[u64]) -> Result<Option<Associations>, HubSpotError> {
        let inputs = contacts.iter().filter_map(|id| RecordId::try_from(id.to_string()).ok());
        let (inputs, latest) =
            (inputs.map(AssociationInput::first).collect(), Instant::now() + Duration::from_secs(60));
        self.session.associations(CONTACTS, COMPANIES, inputs, latest, false).await
    }

    /// Checks that each contact's companies were found, and no others' were.
    fn prove(&self, contacts: &[u64], read: Result<Option<Associations>, HubSpotError>) -> Result<()> {
        let read = read?.context("there is time")?;
        let links = self.hubspot.world().links(HUB);
        ensure!(read.found.len() == contacts.len() && read.unread.is_empty() && read.unfinished.is_empty());
        for contact in contacts {
            let ids = |found: &Vec<Association>| found.iter().map(|company| company.id.to_string()).collect();
            let found: Option<BTreeSet<String>> = read.found.get(&contact.to_string()).map(ids);
            let linked = links.get(contact).context("it has links, or none")?;
            let linked = linked.iter().map(|link| link.company.to_string()).collect();
            ensure!(found == Some(linked), "{contact}: {found:?}");
        }
        Ok(())
    }

    fn requests(&self) -> u64 {
        let requests = &self.hubspot.world().requests;
        requests.iter().filter(|(kind, _)| kind.starts_with("associations")).map(|(_, count)| count).sum()
    }

    /// Reads the pages at the same time, and proves each.
    async fn read_all(&self, pages: &[&[u64]]) -> Result<()> {
        let read = join_all(pages.iter().map(|page| self.read(page))).await;
        pages.iter().zip(read).try_for_each(|(page, read)| self.prove(page, read))
    }
}

#[tokio::test]
async fn pages_that_wait_become_one_request() -> Result<()> {
    let portal = Portal::new(5 * PAGE).await?;
    portal.read_all(&portal.contacts.chunks(PAGE).collect::<Vec<_>>()).await?;
    ensure!(portal.requests() == 2, "{} requests: the first page does not wait", portal.requests());
    Ok(())
}

#[tokio::test]
async fn request_has_no_more_records_than_hubspot_allows_and_each_once() -> Result<()> {
    let portal = Portal::new(1_300).await?;
    let (first, rest) = portal.contacts.split_at(100);
    let (second, third) = rest.split_at(600);
    portal.read_all(&[first, second, third]).await?;
    ensure!(portal.requests() == 3, "{} requests: 1,200 records are two", portal.requests());
    portal.read_all(&[first, first, first]).await?;
    ensure!(portal.requests() == 6, "{} requests: a record cannot come twice", portal.requests());
    Ok(())
}

#[tokio::test]
async fn record_that_fails_is_no_other_pages_problem() -> Result<()> {
    let failed = || FaultKind::Answer { status: 400, body: None, retry_after: None };
    let unnamed = r#"{"status":"COMPLETE","results":[],"errors":[{"category":"VALIDATION_ERROR","context":{}}]}"#;
    let answered = || FaultKind::Answer { status: 207, body: Some(unnamed.to_owned()), retry_after: None };
    for kind in [failed(), answered()] {
        let portal = Portal::new(3 * PAGE).await?;
        // The first request passes, and the joint one of the other two pages does not.
        let path = "/contacts/companies/batch/read".to_owned();
        portal.hubspot.world().faults.push(Fault { path, skip: 1, times: 1, kind });
        portal.read_all(&portal.contacts.chunks(PAGE).collect::<Vec<_>>()).await?;
        ensure!(portal.requests() == 4, "{} requests: each of the two is made by itself", portal.requests());
    }
    Ok(())
}

#[tokio::test]
async fn failure_of_the_account_is_every_pages() -> Result<()> {
    let portal = Portal::new(3 * PAGE).await?;
    let kind = FaultKind::Answer { status: 401, body: None, retry_after: None };
    portal.hubspot.world().faults.push(Fault { path: "/batch/read".to_owned(), skip: 1, times: 1, kind });
    let read = join_all(portal.contacts.chunks(PAGE).map(|page| portal.read(page))).await;
    ensure!(matches!(&read[..], [Ok(Some(_)), Err(HubSpotError::Unauthorized), Err(HubSpotError::Unauthorized)]));
    ensure!(portal.requests() == 2, "{} requests", portal.requests());
    Ok(())
}

#[tokio::test]
async fn read_that_is_given_up_takes_no_other_with_it() -> Result<()> {
    let portal = Portal::new(4 * PAGE).await?;
    let pages: Vec<&[u64]> = portal.contacts.chunks(PAGE).collect();
    let given_up = async {
        let read = tokio::time::timeout(Duration::from_millis(100), portal.read(pages[1])).await;
        ensure!(read.is_err(), "it waits for a second");
        Ok(())
    };
    let first = async { portal.prove(pages[0], portal.read(pages[0]).await) };
    let others = async { portal.read_all(&pages[2..]).await };
    tokio::try_join!(first, given_up, others)?;
    ensure!(portal.requests() == 2, "{} requests", portal.requests());
    Ok(())
}
