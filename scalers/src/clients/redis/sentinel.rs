//! A master that sentinels watch over: they tell which server it is.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::{Cmd, Value};

use super::address::Address;
use super::link::Dialer;
use super::node::Node;
use crate::answers::{Answers, Freshness};
use crate::scaler::ScalerError;

/// For so long, what a sentinel told of the master counts. A failover takes longer; and one question a second is nothing to it.
const TOLD: Duration = Duration::from_secs(1);

/// The servers of one master, by its name.
pub struct Sentinels {
    sentinels: Arc<Watchers>,
    told: Answers<(), Address>,
    dialer: Arc<Dialer>,
    master: Mutex<Option<Arc<Node>>>,
}

/// The sentinels themselves.
struct Watchers {
    nodes: Vec<Node>,
    /// The one that told last: no other is asked while it does.
    last: AtomicUsize,
    question: Cmd,
    name: String,
}

impl Sentinels {
    /// `dialer` is for the master, `watchers` for the sentinels at these addresses.
    pub fn new(
        addresses: Vec<Address>,
        watchers: Arc<Dialer>,
        name: &str,
        dialer: Arc<Dialer>,
    ) -> Self {
        let mut question = redis::cmd("SENTINEL");
        question.arg("get-master-addr-by-name").arg(name);
        let nodes = addresses
            .into_iter()
            .map(|address| Node::new(address, watchers.clone()))
            .collect();
        Self {
            sentinels: Arc::new(Watchers {
                nodes,
                last: AtomicUsize::new(0),
                question,
                name: name.to_owned(),
            }),
            told: Answers::default(),
            dialer,
            master: Mutex::default(),
        }
    }

    /// The master's answer.
    pub async fn ask(&self, command: &Cmd) -> Result<Value, ScalerError> {
        self.master().await?.ask(command).await
    }

    /// The master. While no sentinel answers it is the one that was told last, as long as the connection to it is there.
    async fn master(&self) -> Result<Arc<Node>, ScalerError> {
        let ask = || {
            let sentinels = self.sentinels.clone();
            async move { sentinels.master().await }
        };
        let told = self.told.get(&(), &Freshness::within(TOLD), ask).await;
        let mut master = self.master.lock().unwrap_or_else(PoisonError::into_inner);
        match (told, &*master) {
            (Ok(address), Some(node)) if node.address == address => Ok(node.clone()),
            (Ok(address), _) => {
                let node = Arc::new(Node::new(address, self.dialer.clone()));
                *master = Some(node.clone());
                Ok(node)
            }
            (Err(ScalerError::Unreachable(_)), Some(node)) if node.is_connected() => {
                Ok(node.clone())
            }
            (Err(error), _) => Err(error),
        }
    }
}

impl Watchers {
    /// The master's address, as the first sentinel tells it that knows.
    async fn master(&self) -> Result<Address, ScalerError> {
        let count = self.nodes.len();
        let start = self.last.load(Ordering::Relaxed);
        let mut failed: Option<ScalerError> = None;
        for at in (0..count).map(|step| (start + step) % count) {
            match self.told_by(&self.nodes[at]).await {
                Ok(address) => {
                    self.last.store(at, Ordering::Relaxed);
                    return Ok(address);
                }
                // What a sentinel says is more than that another one is away.
                Err(ScalerError::Unreachable(_)) if failed.is_some() => {}
                Err(error) => failed = Some(error),
            }
        }
        let none = || ScalerError::Unreachable("no sentinel's address is given".to_owned());
        Err(failed.unwrap_or_else(none))
    }

    async fn told_by(&self, sentinel: &Node) -> Result<Address, ScalerError> {
        let answer = sentinel.ask(&self.question).await?;
        let error = match &answer {
            Value::Nil => ScalerError::NotFound(format!("it knows no master {:?}", self.name)),
            answer => match address(answer, &sentinel.address) {
                Some(address) => return Ok(address),
                None => ScalerError::Malformed("expected the master's host and port".to_owned()),
            },
        };
        Err(error.at(&format!("Redis Sentinel at {}", sentinel.address)))
    }
}

/// A host and a port, told by the sentinel at `from`.
fn address(answer: &Value, from: &Address) -> Option<Address> {
    let Value::Array(parts) = answer else {
        return None;
    };
    let [Value::BulkString(host), Value::BulkString(port)] = &parts[..] else {
        return None;
    };
    let (host, port) = (str::from_utf8(host).ok()?, str::from_utf8(port).ok()?);
    from.told(host, port.parse().ok()?)
}
