//! As whom to log in.

use redis::{Cmd, ServerError};

/// A user and a password. Without a password nobody logs in, as in KEDA's client.
///
/// No `Debug`: it holds a password.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Login {
    pub username: Option<String>,
    pub password: Option<String>,
}

/// The user of a server whose users have no names.
const NOBODY: &str = "default";

impl Login {
    /// The commands that log in, the later ones for servers that don't know the earlier.
    pub(super) fn commands(&self) -> Vec<Cmd> {
        let Some(password) = &self.password else {
            return Vec::new();
        };
        let mut named = redis::cmd("AUTH");
        named
            .arg(self.username.as_deref().unwrap_or(NOBODY))
            .arg(password);
        let mut unnamed = redis::cmd("AUTH");
        unnamed.arg(password);
        match self.username {
            Some(_) => vec![named],
            None => vec![named, unnamed],
        }
    }

    /// True for the refusal of a server before Redis 6, where AUTH has one argument.
    pub(super) fn is_unknown_way(refusal: &ServerError) -> bool {
        let text = refusal.details().unwrap_or_default();
        text.starts_with("wrong number of arguments")
    }
}
