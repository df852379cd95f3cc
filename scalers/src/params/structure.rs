//! A serde deserializer over a whole struct of parameters that finds all problems, not only the first.
//!
//! A derived `Deserialize` stops at the first error. So each value is tried alone first: a struct fed with one field
//! fails either at that field, which is its problem, or because others are missing, which says nothing. Only when all
//! values parse alone is the struct read as a whole. Triggers have two dozen parameters at most, so this costs nothing.

use std::cell::RefCell;

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess,
    Visitor,
};
use serde::forward_to_deserialize_any;

use super::field::{Field, Source};
use super::lookup::{Found, find, missing};
use super::quote::quote;
use super::unknown;
use super::value::{Value, ValueError};
use crate::Trigger;

pub(super) fn read<T: DeserializeOwned>(
    trigger: &Trigger,
    declared: &'static [Field],
    known: &[&'static Field],
    problems: &mut Vec<String>,
) -> Option<T> {
    let before = problems.len();
    let mut entries = Vec::new();
    for field in declared {
        let found = find(trigger, field);
        let default = field.default.map(|value| Found {
            value,
            source: Source::Metadata,
        });
        let Some(found) = found.or(default) else {
            if field.required {
                problems.push(missing(trigger, field, known));
            }
            continue;
        };
        let mut entry = Entry {
            field,
            text: found.value,
        };
        if let Some(guess) = unknown::guess_of(found.value) {
            let parses = |text| try_alone::<T>(Entry { field, text }, declared).is_none();
            match unknown::sample(guess, field, parses) {
                Some(sample) => entry.text = sample,
                None if field.required => {
                    problems.push(unknown::UNDECIDED.to_owned());
                    continue;
                }
                None => continue,
            }
        }
        match try_alone::<T>(entry, declared) {
            Some(problem) => problems.push(describe(field, found, &problem)),
            None => entries.push(entry),
        }
    }
    if problems.len() > before {
        return None;
    }
    let failed = RefCell::new(None);
    match T::deserialize(Structure {
        entries: &entries,
        declared,
        failed: &failed,
    }) {
        Ok(parsed) => Some(parsed),
        // Left for what a single value doesn't show; a declaration that doesn't fit the struct, above all.
        Err(error) => {
            problems.push(error.0);
            None
        }
    }
}

/// What is wrong with one value; `None` when it parses.
fn try_alone<T: DeserializeOwned>(
    entry: Entry<'_>,
    declared: &'static [Field],
) -> Option<ValueError> {
    let failed = RefCell::new(None);
    let _ = T::deserialize(Structure {
        entries: &[entry],
        declared,
        failed: &failed,
    });
    failed.into_inner()
}

fn describe(field: &Field, found: Found<'_>, problem: &ValueError) -> String {
    let name = field.name;
    match found.source {
        Source::Metadata if !field.secret => {
            format!(
                "parameter {name:?} has the value {}: {problem}",
                quote(found.value)
            )
        }
        source => format!(
            "parameter {name:?} has a value in {} that doesn't parse: {problem}",
            source.as_str()
        ),
    }
}

#[derive(Clone, Copy)]
struct Entry<'a> {
    field: &'static Field,
    text: &'a str,
}

struct Structure<'a> {
    entries: &'a [Entry<'a>],
    declared: &'static [Field],
    /// Set when a value, not its absence, is at fault.
    failed: &'a RefCell<Option<ValueError>>,
}

impl<'de> Deserializer<'de> for Structure<'_> {
    type Error = ValueError;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        let undeclared = fields.iter().find(|field| {
            !self
                .declared
                .iter()
                .any(|declared| declared.name == **field)
        });
        let unknown = self
            .declared
            .iter()
            .map(|field| field.name)
            .find(|field| !fields.contains(field));
        if let Some(field) = undeclared.copied().or(unknown) {
            return Err(ValueError(format!(
                "{name}: {field:?} stands in only one of the struct and its FIELDS"
            )));
        }
        visitor.visit_map(Entries {
            rest: self.entries,
            failed: self.failed,
        })
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, ValueError> {
        Err(ValueError::custom(
            "parameters are read into structs with named fields",
        ))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct Entries<'a> {
    rest: &'a [Entry<'a>],
    failed: &'a RefCell<Option<ValueError>>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = ValueError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ValueError> {
        self.rest
            .first()
            .map(|entry| seed.deserialize(entry.field.name.into_deserializer()))
            .transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, ValueError> {
        let Some((entry, rest)) = self.rest.split_first() else {
            return Err(ValueError::custom("no value is left"));
        };
        self.rest = rest;
        seed.deserialize(Value {
            text: entry.text,
            separator: entry.field.separator,
        })
        .map_err(|error| {
            let message = error.0.clone();
            *self.failed.borrow_mut() = Some(error);
            ValueError(message)
        })
    }
}
