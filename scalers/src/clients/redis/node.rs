//! One server: at most one connection, made when it is asked.

use std::sync::Arc;

use redis::{Cmd, ServerError, Value};

use super::address::Address;
use super::link::{Dialer, Link};
use crate::clients::on_demand::OnDemand;
use crate::scaler::ScalerError;

/// A server as one user.
pub struct Node {
    pub address: Address,
    dialer: Arc<Dialer>,
    link: OnDemand<Link>,
}

impl Node {
    pub fn new(address: Address, dialer: Arc<Dialer>) -> Self {
        Self {
            address,
            dialer,
            link: OnDemand::default(),
        }
    }

    /// The answer to a command, or what its refusal means.
    pub async fn ask(&self, command: &Cmd) -> Result<Value, ScalerError> {
        let answer = self.raw(command, false).await?;
        self.accepted(answer)
    }

    /// The answer to a command, which may be a refusal. `asking` asks for a key that is on its way to this node.
    pub async fn raw(&self, command: &Cmd, asking: bool) -> Result<Value, ScalerError> {
        let link = self.link().await?;
        match link.ask(command, asking).await {
            Ok(Value::ServerError(refusal)) if refusal.code() == "NOAUTH" => {
                // Another server answers at this address than the one that was logged in to, or a login is missing: the next
                // question logs in anew, after a pause.
                let error = self.refused(&refusal);
                self.link.lost(&link, &error);
                Err(error)
            }
            Ok(answer) => {
                self.link.answered();
                Ok(answer)
            }
            Err(error) => {
                self.link.lost(&link, &error);
                Err(error)
            }
        }
    }

    /// The answer, unless it is a refusal.
    pub fn accepted(&self, answer: Value) -> Result<Value, ScalerError> {
        match answer {
            Value::ServerError(refusal) => Err(self.refused(&refusal)),
            answer => Ok(answer),
        }
    }

    /// True while there is a connection.
    pub fn is_connected(&self) -> bool {
        self.link.is_connected(Link::is_open)
    }

    fn refused(&self, refusal: &ServerError) -> ScalerError {
        self.dialer.refused(&self.address, refusal)
    }

    async fn link(&self) -> Result<Arc<Link>, ScalerError> {
        self.link
            .get(Link::is_open, || {
                let (dialer, address) = (self.dialer.clone(), self.address.clone());
                async move { Link::open(&dialer, &address).await }
            })
            .await
    }
}
