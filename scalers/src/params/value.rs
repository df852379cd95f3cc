//! A serde deserializer over one parameter's text.

use std::fmt;

use sakidori_engine::nearest;
use serde::de::value::{MapDeserializer, StrDeserializer};
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, Visitor,
};
use serde::forward_to_deserialize_any;

/// What was expected. Never holds the value itself: it may be a secret, and who reports decides whether to quote it.
#[derive(Debug)]
pub(super) struct ValueError(pub String);

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ValueError {}

impl de::Error for ValueError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }

    fn invalid_type(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self(format!("expected {expected}"))
    }

    fn invalid_value(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self(format!("expected {expected}"))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let hint = nearest(variant, expected.iter().copied())
            .map(|name| format!(", did you mean {name:?}?"));
        Self(format!(
            "must be one of [{}]{}",
            expected.join(" "),
            hint.unwrap_or_default()
        ))
    }
}

/// One value, or one element of a list.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    pub text: &'a str,
    pub separator: char,
}

impl<'a> Value<'a> {
    fn elements(self) -> impl Iterator<Item = Value<'a>> {
        self.text.split(self.separator).map(move |text| Value {
            text: text.trim(),
            ..self
        })
    }
}

/// A JSON integer that fits the type.
macro_rules! whole_number {
    ($($method:ident $visit:ident $type:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
            let digits = self.text.strip_prefix('-').unwrap_or(self.text);
            let json = digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
            match self.text.parse::<$type>() {
                Ok(number) if json => visitor.$visit(number),
                _ => Err(ValueError(format!("expected a whole number from {} to {}", $type::MIN, $type::MAX))),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Value<'_> {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_str(self.text)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.text {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => visitor.visit_bool(true),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => visitor.visit_bool(false),
            _ => Err(ValueError("expected true or false".into())),
        }
    }

    whole_number! {
        deserialize_i8 visit_i8 i8
        deserialize_i16 visit_i16 i16
        deserialize_i32 visit_i32 i32
        deserialize_i64 visit_i64 i64
        deserialize_u8 visit_u8 u8
        deserialize_u16 visit_u16 u16
        deserialize_u32 visit_u32 u32
        deserialize_u64 visit_u64 u64
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match serde_json::from_str::<f64>(self.text) {
            Ok(number) => visitor.visit_f64(number),
            Err(_) => Err(ValueError("expected a number such as 5 or 2.5".into())),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_seq(de::value::SeqDeserializer::new(self.elements()))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        let pairs = self
            .elements()
            .map(|element| match element.text.split_once('=') {
                Some((key, value)) if !value.contains('=') => Ok((
                    key.trim(),
                    Value {
                        text: value.trim(),
                        ..self
                    },
                )),
                _ => Err(ValueError::custom(format!(
                    "expected key=value{}key=value",
                    self.separator
                ))),
            })
            .collect::<Result<Vec<_>, _>>()?;
        visitor.visit_map(MapDeserializer::new(pairs.into_iter()))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        visitor.visit_enum(self)
    }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct tuple tuple_struct struct identifier ignored_any
    }
}

impl<'de> EnumAccess<'de> for Value<'_> {
    type Error = ValueError;
    type Variant = UnitVariant;

    fn variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<(T::Value, UnitVariant), ValueError> {
        let name: StrDeserializer<'_, ValueError> = self.text.into_deserializer();
        Ok((seed.deserialize(name)?, UnitVariant))
    }
}

/// Enums of parameters are plain names.
pub(super) struct UnitVariant;

impl<'de> de::VariantAccess<'de> for UnitVariant {
    type Error = ValueError;

    fn unit_variant(self) -> Result<(), ValueError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, ValueError> {
        Err(ValueError("expected a plain name".into()))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, ValueError> {
        Err(ValueError("expected a plain name".into()))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, ValueError> {
        Err(ValueError("expected a plain name".into()))
    }
}

impl<'de> IntoDeserializer<'de, ValueError> for Value<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}
