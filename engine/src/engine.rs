//! (being written)

use jiff::Timestamp;

use crate::effect::Effect;
use crate::event::Event;

/// Decides for all objects.
#[derive(Debug, Default)]
pub struct Engine {}

impl Engine {
    /// Takes in one event and says what is to be done.
    pub fn handle(&mut self, _now: Timestamp, _event: Event) -> Vec<Effect> {
        Vec::new()
    }

    /// When `handle(.., Event::Woke)` is to be called next, if nothing else happens before.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        None
    }
}
