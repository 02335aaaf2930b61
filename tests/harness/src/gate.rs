//! A gate on the way from a function to the outside: it counts the function's effects there, and can kill the
//! function, or break the way, before or after any of them.

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

/// Before or after a request reaches the server that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The request has not reached the server.
    Before,
    /// The server has answered, but the function does not know yet.
    After,
}

/// A request of the function, on its way there or back.
#[derive(Clone, Debug)]
pub struct Effect {
    /// Its number, from 0, since the gate was set.
    pub number: usize,
    /// What it is, such as `mongodb update seen`, `sqs SendMessage actions` or `hubspot search contacts`.
    pub name: String,
    /// On which way it is.
    pub when: When,
}

/// What happens to a request at the gate.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Nothing.
    Pass,
    /// The function is killed (SIGKILL).
    Kill,
    /// The connection is closed.
    Lose,
    /// The request gets no further.
    Hang,
    /// The server is said to have answered with this status (HTTP only).
    Refuse(u16),
    /// Of a batch, the last entry is refused (`SendMessageBatch` only).
    RefuseLast,
    /// It is late.
    Late(Duration),
    /// It goes on when this is notified.
    Until(Arc<Notify>),
    /// The function is stopped (SIGSTOP) until it is [`Gate::thaw`]ed; then the request goes on.
    Freeze,
}

/// The connection is to be closed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the connection is to be closed")]
pub struct Closed;

/// How a request goes on that passes the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    /// As it is.
    Whole,
    /// To be answered with this status.
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
    /// Grows whenever all connections are to be cut.
    cut: watch::Sender<u32>,
}

struct State {
    process: Option<Pid>,
    rule: Rule,
    effects: Vec<String>,
    frozen: bool,
    /// Whether it was stopped since the gate was set.
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
    /// Which process it kills and stops.
    pub fn guard(&self, process: Pid) {
        self.state().process = Some(process);
    }

    /// From now on `rule` decides; effects are counted anew.
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

    /// Kills the process at one effect.
    pub fn kill_at(&self, number: usize, when: When) {
        self.set(move |effect| match effect.number == number && effect.when == when {
            true => Verdict::Kill,
            false => Verdict::Pass,
        });
    }

    /// The names of the effects so far.
    pub fn effects(&self) -> Vec<String> {
        self.state().effects.clone()
    }

    /// Whether the process is stopped.
    pub fn is_frozen(&self) -> bool {
        self.state().frozen
    }

    /// Whether it was stopped at any time since the gate was set.
    pub fn was_frozen(&self) -> bool {
        self.state().was_frozen
    }

    /// Stops the process, as Lambda does between two invocations.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
        let mut state = self.state();
        (state.frozen, state.was_frozen) = (true, true);
    }

    /// Lets a stopped process, and the request that it was stopped at, go on.
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

    /// Counts an effect before it reaches the server, and gives its number for [`Gate::after`].
    pub(crate) async fn before(&self, name: &str) -> Result<(usize, Pass), Closed> {
        let number = {
            let mut state = self.state();
            state.effects.push(name.to_owned());
            state.effects.len() - 1
        };
        let pass = self.pass(Effect { number, name: name.to_owned(), when: When::Before }).await?;
        Ok((number, pass))
    }

    /// What happens to the answer on the way back.
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
            // It may have ended by itself.
            kill(process, signal).ok();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
