//! The engine decides everything and does nothing: `handle(now, Event) -> Vec<Effect>`.
//!
//! It never does IO, never reads a clock and draws no random numbers; time comes in with each event. So the
//! operator, the simulator and the property tests run the same code, and the same trace always gives the same
//! effects. The operator's shell turns watch events, readings and answers into [`Event`]s, carries out the
//! [`Effect`]s, and sleeps until [`Engine::next_wakeup`].

mod activation;
mod agenda;
mod backoff;
pub mod condition_reasons;
mod conditions;
mod cooldown;
mod effect;
mod engine;
mod event;
mod fallback;
mod formula;
mod lease;
mod modifiers;
mod nearest;
mod nodes;
mod object;
mod pause;
mod poll;
mod preparation;
pub mod prescale;
mod push;
mod quantity;
pub mod reasons;
pub mod resize;
mod sales;
pub mod selector;
mod spell;
mod status;
mod telling;
mod time;
mod tracked;

pub use conditions::{Condition, ConditionStatus, ConditionType, Conditions};
pub use effect::{Effect, EventType, ObjectStatus, ScaleDirection, Scaled, Served, Shown, Told};
pub use engine::Engine;
pub use event::{
    Event, MetricTarget, Observation, PollOutcome, PrepareOutcome, Reading, Remembered,
    RoomOutcome, ScaleOutcome, TargetType, TriggerOutcome,
};
pub use fallback::{Fallback, FallbackBehavior, MetricHealth};
pub use formula::{Formula, FormulaError};
pub use lease::{Lease, LeaseEffect, LeaseEvent, LeaseRecord, LeaseTiming, StoredLease};
pub use modifiers::{COMPOSITE_METRIC, Modifiers};
pub use nearest::{name_distance, nearest};
pub use object::{ObjectKey, Pause, PollId, ScaledObject, Switches};
pub use quantity::{ParseQuantityError, Quantity};
pub use sales::{PodsSeen, SaleTrigger};
pub use spell::Spell;
