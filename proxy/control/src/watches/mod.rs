//! The open watches of the traffic thread: one task each, and the last answer of each.

mod answer;
mod endpoints;
mod inbound;
mod outbound;

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use rules::endpoint::Endpoint;
use rules::inbound::ServerPolicy;
use rules::outbound::{OutboundPolicy, Unavailable};
use settings::Settings;
use tokio::task::AbortHandle;

use crate::channel::Channel;
use crate::handover::News;
use crate::notes::Notes;
use answer::{Answer, Remembered};

/// What every watch needs.
#[derive(Clone)]
pub struct Watcher {
    pub config: Arc<Settings>,
    pub destination: Channel,
    pub policy: Channel,
    pub notes: Notes,
}

type Tell = Rc<dyn Fn(News)>;

/// All watches; must be used on the runtime.
pub struct Watches {
    watcher: Watcher,
    tell: Tell,
    outbound: Open<SocketAddr, Arc<OutboundPolicy>>,
    endpoints: Open<Arc<str>, Arc<[Endpoint]>>,
    inbound: Open<u16, Arc<ServerPolicy>>,
}

impl Watches {
    pub fn new(watcher: Watcher, tell: Tell) -> Watches {
        Watches { watcher, tell, outbound: Open::default(), endpoints: Open::default(), inbound: Open::default() }
    }

    pub fn watch_outbound(&mut self, address: SocketAddr) {
        let (watcher, tell) = (self.watcher.clone(), self.tell.clone());
        self.outbound.watch(
            address,
            move |answer| tell(News::Outbound(address, answer)),
            |answer| watcher.outbound(address, answer),
        );
    }

    pub fn forget_outbound(&mut self, address: &SocketAddr) {
        self.outbound.forget(address);
    }

    pub fn watch_endpoints(&mut self, authority: Arc<str>) {
        let (watcher, tell, name) = (self.watcher.clone(), self.tell.clone(), authority.clone());
        self.endpoints.watch(
            authority.clone(),
            move |answer| tell(News::Endpoints(name.clone(), answer)),
            |answer| watcher.endpoints(authority, answer),
        );
    }

    pub fn forget_endpoints(&mut self, authority: &Arc<str>) {
        self.endpoints.forget(authority);
    }

    pub fn watch_inbound(&mut self, port: u16) {
        let (watcher, tell) = (self.watcher.clone(), self.tell.clone());
        self.inbound.watch(
            port,
            move |answer| tell(News::Inbound(port, answer)),
            |answer| watcher.inbound(port, answer),
        );
    }

    /// Ports named in the settings stay watched.
    pub fn forget_inbound(&mut self, port: u16) {
        if !self.watcher.config.policy.ports.contains(port) {
            self.inbound.forget(&port);
        }
    }
}

/// Shared by a watch's task and the table.
type Shared<V> = Rc<RefCell<Answer<V>>>;

/// Watches of one kind.
struct Open<K, V> {
    tasks: HashMap<K, (Shared<V>, AbortHandle)>,
    remembered: Remembered<K, V>,
}

impl<K, V> Default for Open<K, V> {
    fn default() -> Self {
        Open { tasks: HashMap::new(), remembered: Remembered::default() }
    }
}

impl<K: Clone + Eq + Hash, V: Clone + PartialEq + 'static> Open<K, V> {
    fn watch<F: Future<Output = ()> + 'static>(
        &mut self,
        key: K,
        send: impl Fn(Result<V, Unavailable>) + 'static,
        start: impl FnOnce(Shared<V>) -> F,
    ) {
        if let Some((answer, _)) = self.tasks.get(&key) {
            return answer.borrow().repeat();
        }
        let answer = Rc::new(RefCell::new(Answer::new(self.remembered.take(&key), send)));
        let task = tokio::task::spawn_local(start(answer.clone()));
        self.tasks.insert(key, (answer, task.abort_handle()));
    }

    fn forget(&mut self, key: &K) {
        if let Some((answer, task)) = self.tasks.remove(key) {
            task.abort();
            if let Some(value) = answer.borrow().last_good() {
                self.remembered.put(key.clone(), value);
            }
        }
    }
}
