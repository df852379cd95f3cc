//! What fails for a while, seen by many requests at once: told as the engine's [`Spell`] says.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use sakidori_engine::Spell;

/// One thing that works or fails.
#[derive(Debug, Default)]
pub(crate) struct SharedSpell(Mutex<Spell>);

impl SharedSpell {
    /// It fails with these words. True if that is to be told.
    pub(crate) fn fails(&self, words: &str) -> bool {
        let mut spell = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spell.fails(Timestamp::now(), words)
    }

    /// It works. True if that is to be told.
    pub(crate) fn works(&self) -> bool {
        let mut spell = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spell.works()
    }
}
