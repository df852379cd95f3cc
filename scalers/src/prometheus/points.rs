//! Readers for the lists of an answer that keep no more of them than what counts.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The first of a list, and how many there are: what an answer of 10 MiB repeats millions of times must not be in memory.
pub struct Counted<T> {
    pub first: Option<T>,
    pub count: usize,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Counted<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
            type Value = Counted<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Counted<T>, A::Error> {
                let mut counted = Counted {
                    first: None,
                    count: 0,
                };
                // Each is one of these, though only the first is kept.
                while let Some(element) = list.next_element()? {
                    counted.first.get_or_insert(element);
                    counted.count += 1;
                }
                Ok(counted)
            }
        }
        deserializer.deserialize_seq(List(PhantomData))
    }
}

/// The time and the value of a sample: a list of both.
#[derive(Default)]
pub struct Sample {
    pub time: bool,
    pub value: Option<Point>,
}

impl<'de> Deserialize<'de> for Sample {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pair;
        impl<'de> Visitor<'de> for Pair {
            type Value = Sample;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of a time and a value")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Sample, A::Error> {
                let sample = Sample {
                    time: list.next_element::<IgnoredAny>()?.is_some(),
                    value: list.next_element()?,
                };
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(sample)
            }
        }
        deserializer.deserialize_seq(Pair)
    }
}

/// What stands for a value.
pub enum Point {
    Text(String),
    Null,
    Other,
}

impl<'de> Deserialize<'de> for Point {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Point;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_str<E>(self, text: &str) -> Result<Point, E> {
                Ok(Point::Text(text.to_owned()))
            }

            fn visit_unit<E>(self) -> Result<Point, E> {
                Ok(Point::Null)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Point, E> {
                Ok(Point::Other)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Point, E> {
                Ok(Point::Other)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Point, E> {
                Ok(Point::Other)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Point, E> {
                Ok(Point::Other)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Point, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Point::Other)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Point, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Point::Other)
            }
        }
        deserializer.deserialize_any(Any)
    }
}
