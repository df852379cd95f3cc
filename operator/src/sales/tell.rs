//! Tells the engine what calendars hold for an object's sale triggers: when it was prepared, and when a calendar changes.

use std::sync::{Arc, Mutex};

use sakidori_engine::{Event, ObjectKey, SaleTrigger};
use tokio::sync::mpsc;

use super::PreparedSale;
use crate::calendars::Calendars;
use crate::control::Events;
use crate::lock::lock;
use crate::objects::Objects;

pub struct SaleNews {
    calendars: Arc<Calendars>,
    objects: Arc<Objects>,
    events: Events,
    /// Held from the look at the calendars until the event is sent: what was seen first may not arrive last.
    telling: Mutex<()>,
}

impl SaleNews {
    pub fn new(calendars: Arc<Calendars>, objects: Arc<Objects>, events: Events) -> Self {
        Self {
            calendars,
            objects,
            events,
            telling: Mutex::default(),
        }
    }

    /// Tells what the object's sale triggers pick now. Nothing for an object that is not prepared: its preparation does it. (A paused
    /// one is never prepared; what it misses is told all the same.) A calendar's change alone needs no preparation, so it costs no
    /// request to the API server, however many objects use the calendar.
    pub fn tell(&self, key: &ObjectKey) {
        let _telling = lock(&self.telling);
        let prepared = self.objects.prepared(key);
        let paused: Vec<PreparedSale>;
        let sales = match (&prepared, self.objects.object(key)) {
            (Some(prepared), _) => &prepared.sales,
            (None, Some(object)) if object.pause().is_some() => {
                paused = super::of_object(key, &object);
                &paused
            }
            _ => return,
        };
        let triggers = sales.iter().map(|sale| SaleTrigger {
            index: sale.index,
            metric: sale.metric.clone(),
            trigger: sale
                .trigger(|calendar, selector| self.calendars.picked(key, calendar, selector)),
        });
        let triggers = triggers.collect();
        self.events.send(Event::SalesKnown {
            key: key.clone(),
            triggers,
        });
    }

    /// Tells of each object whose calendar changed.
    pub async fn follow(self: Arc<Self>, mut changed: mpsc::UnboundedReceiver<ObjectKey>) {
        while let Some(key) = changed.recv().await {
            self.tell(&key);
        }
    }
}
