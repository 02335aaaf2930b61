//! Joins reads of associations that wait for their limit at the same time. One request for a pair of object types then
//! has the records of several pages.
//!
//! A read that finds none to join waits for the limit, and takes along those that join it until then. If HubSpot cannot
//! answer for all records of a joint request, each read that the failure may concern is made by itself: no record is read worse
//! because of another.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{sync::oneshot, time::Instant};

use super::{
    HubSpotError, MAX_ASSOCIATION_INPUTS,
    response::{Failure, Input, Request, Response},
};
use crate::{Session, session::Kind};

/// What a request for associations returned: `None` if there was no time for it.
type Answer = Result<Option<Response>, HubSpotError>;

/// The reads that can be joined, by their path. Each waits for the limit.
#[derive(Debug, Default)]
pub(crate) struct WaitingReads {
    reads: Mutex<HashMap<String, Weak<JointRead>>>,
    /// True once a joint request has failed as a whole. It may have been too large, so no more are made.
    are_alone: AtomicBool,
}

/// Reads that become one request.
#[derive(Debug)]
struct JointRead(Mutex<State>);

#[derive(Debug)]
struct State {
    /// The records of the read that others join.
    ids: HashSet<String>,
    inputs: Vec<Input>,
    /// True once it is requested. No other read can join then.
    is_requested: bool,
    /// Those that joined.
    others: Vec<Part>,
}

/// A read that joined another one.
#[derive(Debug)]
struct Part {
    ids: HashSet<String>,
    answer: oneshot::Sender<Answer>,
}

impl WaitingReads {
    /// Adds inputs to a read that waits. Returns where their answer will come. Returns `None` if there is no such read.
    fn join(&self, path: &str, inputs: &[Input]) -> Option<oneshot::Receiver<Answer>> {
        if self.are_alone.load(Ordering::Relaxed) {
            return None;
        }
        let read = lock(&self.reads).get(path)?.upgrade()?;
        let mut state = lock(&read.0);
        let is_in = |input: &Input| state.inputs.iter().any(|other| other.id == input.id);
        let is_full = state.inputs.len() + inputs.len() > MAX_ASSOCIATION_INPUTS;
        if state.is_requested || is_full || inputs.iter().any(is_in) {
            return None;
        }
        let (answer, answered) = oneshot::channel();
        state.inputs.extend_from_slice(inputs);
        state.others.push(Part { ids: inputs.iter().map(|input| input.id.clone()).collect(), answer });
        Some(answered)
    }

    /// Begins a read that others can join, as long as the result exists and is not requested.
    fn begin(&self, path: &str, inputs: &[Input]) -> Arc<JointRead> {
        let ids = inputs.iter().map(|input| input.id.clone()).collect();
        let state = State { ids, inputs: inputs.to_vec(), is_requested: false, others: Vec::new() };
        let read = Arc::new(JointRead(Mutex::new(state)));
        lock(&self.reads).insert(path.to_owned(), Arc::downgrade(&read));
        read
    }
}

impl JointRead {
    /// Returns all inputs. No other read can join after that.
    fn request(&self) -> Vec<Input> {
        let mut state = lock(&self.0);
        state.is_requested = true;
        state.inputs.clone()
    }

    /// Gives the reads that joined their parts of the answer. Returns the part of the read that they joined.
    fn share(&self, mut answer: Answer) -> Answer {
        let (ids, others) = {
            let mut state = lock(&self.0);
            (std::mem::take(&mut state.ids), std::mem::take(&mut state.others))
        };
        if others.is_empty() {
            return answer;
        }
        for Part { ids, answer: to } in others {
            let part = match &mut answer {
                Ok(Some(response)) => Ok(Some(part_of(response, &ids))),
                Ok(None) => Ok(None),
                Err(error) => Err(error.clone()),
            };
            // Nobody receives it if the read was cancelled.
            to.send(part).ok();
        }
        answer.map(|response| response.map(|mut response| part_of(&mut response, &ids)))
    }

    fn is_shared(&self) -> bool {
        !lock(&self.0).others.is_empty()
    }
}

/// Takes the answer for these records out of a response. A failure that names no record may concern any.
fn part_of(response: &mut Response, ids: &HashSet<String>) -> Response {
    let results = response.results.extract_if(.., |result| ids.contains(&result.from.id)).collect();
    let concerns = |failure: &&Failure| {
        let names = failure.names();
        names.is_empty() || names.iter().any(|id| ids.contains(id))
    };
    Response { results, errors: response.errors.iter().filter(concerns).cloned().collect(), took: response.took }
}

/// Returns true if the cause may be some of the records, and others can be read without them.
fn may_concern_some(answer: &Answer) -> bool {
    match answer {
        Ok(Some(response)) => response.errors.iter().any(|failure| !failure.means_no_associations()),
        Ok(None) => false,
        Err(error) => error.is_about_contents() || error.is_transient(),
    }
}

impl Session {
    /// Requests a page of the associations of each input, together with other reads at `path` that wait for the limit at the
    /// same time. Returns `None` if the limit leaves no time before `latest`, which is the same for all reads of a session.
    ///
    /// # Errors
    /// See [`HubSpotError`].
    pub(super) async fn read_jointly(
        &self,
        path: &str,
        inputs: &[Input],
        latest: Instant,
    ) -> Result<Option<Response>, HubSpotError> {
        let answer = loop {
            let Some(answered) = self.waiting_reads.join(path, inputs) else {
                let read = self.waiting_reads.begin(path, inputs);
                let answer = self.read_inputs(path, || read.request(), latest).await;
                let is_shared = read.is_shared();
                let answer = read.share(answer);
                if !is_shared {
                    return answer;
                }
                if matches!(&answer, Err(error) if error.is_transient() || matches!(error, HubSpotError::Malformed(_)))
                {
                    self.waiting_reads.are_alone.store(true, Ordering::Relaxed);
                }
                break answer;
            };
            // If the other read is cancelled, this one starts again.
            if let Ok(answer) = answered.await {
                break answer;
            }
        };
        if !may_concern_some(&answer) {
            return answer;
        }
        match self.read_inputs(path, || inputs.to_vec(), latest).await {
            // Whose contents are the cause is not known. A failure of HubSpot is everybody's.
            Ok(None) => {
                if matches!(&answer, Err(error) if error.is_transient()) {
                    answer
                } else {
                    Ok(None)
                }
            }
            alone => alone,
        }
    }

    /// Requests a page of the associations of each input, as [`Self::read_jointly`] does, but without others.
    pub(super) async fn read_inputs(
        &self,
        path: &str,
        inputs: impl Fn() -> Vec<Input>,
        latest: Instant,
    ) -> Result<Option<Response>, HubSpotError> {
        let response = self.post(Kind::Association, path, || Request { inputs: inputs() }, Some(latest)).await?;
        let Some(response) = response else { return Ok(None) };
        let read: Response = response.parse("associations are not of their form")?;
        Ok(Some(Response { took: response.took, ..read }))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves the contents consistent.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
