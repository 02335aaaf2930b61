//! A gate between a function and the outside: it counts the function's effects there, and can kill the function or
//! break the connection before or after any of them.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::sync::{Notify, watch};

/// The direction of a message at the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The request has not reached the server.
    Before,
    /// The server has responded, but the function does not know it yet.
    After,
}

/// A request of the function at the gate, or the response to it.
#[derive(Clone, Debug)]
pub struct Effect {
    /// Its number, from 0, since the rule was set.
    pub number: usize,
    /// What it is, such as `mongodb update seen`, `sqs SendMessage actions` or `hubspot search contacts`.
    pub name: String,
    /// Its direction.
    pub when: When,
}

/// What the gate does with a request.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Lets it pass.
    Pass,
    /// Kills the function (SIGKILL).
    Kill,
    /// Closes the connection.
    Lose,
    /// Holds the request forever.
    Hang,
    /// Returns a response with this status (HTTP only).
    Refuse(u16),
    /// Refuses the last entry of a batch (`SendMessageBatch` only).
    RefuseLast,
    /// Delays it.
    Late(Duration),
    /// Holds it until this is notified.
    Until(Arc<Notify>),
    /// Stops the function (SIGSTOP) until [`Gate::thaw`], and then lets the request pass.
    Freeze,
}

/// The error that closes the connection.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the connection is to be closed")]
pub struct Closed;

/// What a request that passes the gate becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    /// Unchanged.
    Whole,
    /// Answered with this status.
    Refused(u16),
    /// Without its last entry.
    WithoutLast,
}

type Rule = Box<dyn FnMut(&Effect) -> Verdict + Send>;

/// The gate of one process.
#[derive(Clone)]
pub struct Gate {
    state: Arc<Mutex<State>>,
    thawed: Arc<Notify>,
    /// Increases when all connections are to be closed.
    cut: watch::Sender<u32>,
}

struct State {
    process: Option<Pid>,
    rule: Rule,
    effects: Vec<String>,
    frozen: bool,
    /// True if the process was stopped since the rule was set.
    was_frozen: bool,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("effects", &self.state().effects).finish_non_exhaustive()
    }
}

impl Default for Gate {
    fn default() -> Self {
        let state = State {
            process: None,
            rule: Box::new(|_| Verdict::Pass),
            effects: Vec::new(),
            frozen: false,
            was_frozen: false,
        };
        Self { state: Arc::new(Mutex::new(state)), thawed: Arc::default(), cut: watch::Sender::new(0) }
    }
}

impl Gate {
    /// Sets the process that the gate kills and stops.
    pub fn guard(&self, process: Pid) {
        self.state().process = Some(process);
    }

    /// Sets the rule that decides from now on, and counts effects from 0.
    pub fn set(&self, rule: impl FnMut(&Effect) -> Verdict + Send + 'static) {
        let mut state = self.state();
        state.effects.clear();
        state.was_frozen = false;
        state.rule = Box::new(rule);
    }

    /// Lets everything pass.
    pub fn open(&self) {
        self.set(|_| Verdict::Pass);
    }

    /// Sets a rule that kills the process at one of all effects, counted from 0.
    pub fn kill_at_number(&self, number: usize, when: When) {
        self.set(
            move |effect| if effect.number == number && effect.when == when { Verdict::Kill } else { Verdict::Pass },
        );
    }

    /// Sets a rule that kills the process at one of the effects of a name, counted from 0.
    pub fn kill_at(&self, name: &str, occurrence: usize, when: When) {
        let (name, mut came) = (name.to_owned(), 0);
        self.set(move |effect| {
            let is_meant = effect.name == name && effect.when == when;
            came += usize::from(is_meant);
            if is_meant && came == occurrence + 1 { Verdict::Kill } else { Verdict::Pass }
        });
    }

    /// Returns the names of the effects so far.
    pub fn effects(&self) -> Vec<String> {
        self.state().effects.clone()
    }

    /// Returns true if the process is stopped.
    pub fn is_frozen(&self) -> bool {
        self.state().frozen
    }

    /// Returns true if the process was stopped since the rule was set.
    pub fn was_frozen(&self) -> bool {
        self.state().was_frozen
    }

    /// Stops the process, as Lambda does between two invocations.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
        let mut state = self.state();
        (state.frozen, state.was_frozen) = (true, true);
    }

    /// Continues a stopped process, and the request at which it was stopped.
    pub fn thaw(&self) {
        self.state().frozen = false;
        self.signal(Signal::SIGCONT);
        self.thawed.notify_waiters();
    }

    /// Closes all connections.
    pub fn cut_connections(&self) {
        self.cut.send_modify(|cuts| *cuts += 1);
    }

    /// Resolves when all connections are to be closed.
    pub(crate) async fn is_cut(&self) {
        let mut cuts = self.cut.subscribe();
        cuts.mark_unchanged();
        cuts.changed().await.ok();
    }

    /// Counts an effect before it reaches the server. Returns its number for [`Gate::after`].
    pub(crate) async fn before(&self, name: &str) -> Result<(usize, Pass), Closed> {
        let number = {
            let mut state = self.state();
            state.effects.push(name.to_owned());
            state.effects.len() - 1
        };
        let pass = self.pass(Effect { number, name: name.to_owned(), when: When::Before }).await?;
        Ok((number, pass))
    }

    /// Applies the rule to the response of an effect.
    pub(crate) async fn after(&self, number: usize, name: &str) -> Result<Pass, Closed> {
        self.pass(Effect { number, name: name.to_owned(), when: When::After }).await
    }

    async fn pass(&self, effect: Effect) -> Result<Pass, Closed> {
        let verdict = (self.state().rule)(&effect);
        match verdict {
            Verdict::Pass => Ok(Pass::Whole),
            Verdict::Refuse(status) => Ok(Pass::Refused(status)),
            Verdict::RefuseLast => Ok(Pass::WithoutLast),
            Verdict::Kill => {
                self.signal(Signal::SIGKILL);
                Err(Closed)
            }
            Verdict::Lose => Err(Closed),
            Verdict::Hang => std::future::pending().await,
            Verdict::Late(by) => {
                tokio::time::sleep(by).await;
                Ok(Pass::Whole)
            }
            Verdict::Until(done) => {
                done.notified().await;
                Ok(Pass::Whole)
            }
            Verdict::Freeze => {
                let thawed = self.thawed.notified();
                self.freeze();
                thawed.await;
                Ok(Pass::Whole)
            }
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = self.state().process {
            // The process may have ended before.
            kill(process, signal).ok();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
