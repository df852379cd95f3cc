//! A column's value as a number, whatever its type in SQL: the same that KEDA makes of it, or an error.

use std::error::Error;

use tokio_postgres::types::{FromSql, Kind, Type};

use crate::clients::sql::value;
use crate::scaler::ScalerError;

/// What a column held, unless it was NULL.
pub struct Value(pub Result<f64, ScalerError>);

impl FromSql<'_> for Value {
    fn from_sql(type_: &Type, raw: &[u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(number(type_, raw)))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// In PostgreSQL's binary format.
fn number(type_: &Type, raw: &[u8]) -> Result<f64, ScalerError> {
    let found = match *type_ {
        Type::INT2 => raw
            .try_into()
            .ok()
            .map(|raw| i16::from_be_bytes(raw).into()),
        Type::INT4 => raw
            .try_into()
            .ok()
            .map(|raw| i32::from_be_bytes(raw).into()),
        Type::INT8 => raw
            .try_into()
            .ok()
            .map(|raw| i64::from_be_bytes(raw) as f64),
        Type::OID | Type::XID | Type::CID => raw
            .try_into()
            .ok()
            .map(|raw| u32::from_be_bytes(raw).into()),
        Type::FLOAT4 => raw
            .try_into()
            .ok()
            .map(|raw| f32::from_be_bytes(raw).into()),
        Type::FLOAT8 => raw.try_into().ok().map(f64::from_be_bytes),
        Type::NUMERIC => decimal(raw).and_then(|text| text.parse().ok()),
        Type::JSONB => match raw.split_first() {
            // The version of the format.
            Some((1, text)) => return value::of_text(text),
            _ => None,
        },
        Type::TEXT
        | Type::VARCHAR
        | Type::BPCHAR
        | Type::NAME
        | Type::UNKNOWN
        | Type::JSON
        | Type::XML
        | Type::BYTEA => return value::of_text(raw),
        _ if matches!(type_.kind(), Kind::Enum(_)) || type_.name() == "citext" => {
            return value::of_text(raw);
        }
        _ => {
            let text = format!(
                "the query gives a {}, which is no number: cast it to one",
                type_.name()
            );
            return Err(ScalerError::Malformed(text));
        }
    };
    let broken = || {
        let text = format!("the query gives a {} that is no number", type_.name());
        ScalerError::Malformed(text)
    };
    value::finite(found.ok_or_else(broken)?)
}

/// `numeric` as a decimal text: digits of base 10,000 with a weight and a sign. `None` for NaN and the infinities.
fn decimal(raw: &[u8]) -> Option<String> {
    let mut words = raw.chunks_exact(2).map(|word| [word[0], word[1]]);
    let mut word = || words.next();
    let count = usize::try_from(i16::from_be_bytes(word()?)).ok()?;
    let weight = i32::from(i16::from_be_bytes(word()?));
    let sign = match u16::from_be_bytes(word()?) {
        0x0000 => "",
        0x4000 => "-",
        _ => return None,
    };
    // How many digits are shown behind the point.
    word()?;
    let digits: Vec<String> = words
        .map(|digit| format!("{:04}", u16::from_be_bytes(digit)))
        .collect();
    let exponent = 4 * (weight + 1 - i32::try_from(count).ok()?);
    let digits = (digits.len() == count).then(|| digits.concat())?;
    Some(format!("{sign}0{digits}e{exponent}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numeric(words: &[u16]) -> Option<f64> {
        let raw: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        number(&Type::NUMERIC, &raw).ok()
    }

    #[test]
    fn decimals_keep_their_value() {
        for (words, expected) in [
            (&[0, 0, 0, 0][..], Some(0.0)),
            // 12345.678
            (&[3, 1, 0, 3, 1, 2345, 6780], Some(12_345.678)),
            // -0.0001
            (&[1, 0xffff, 0x4000, 4, 1], Some(-0.0001)),
            // 10^12
            (&[1, 3, 0, 0, 1], Some(1e12)),
            (&[0, 0, 0xc000, 0], None),
            (&[0, 0, 0xd000, 0], None),
            (&[2, 0, 0, 0, 1], None),
            (&[1], None),
        ] {
            assert_eq!(numeric(words), expected, "{words:?}");
        }
    }

    #[test]
    fn every_type_is_a_number_or_an_error() {
        for (type_, raw, expected) in [
            (Type::INT2, &b"\xff\xfe"[..], Some(-2.0)),
            (Type::INT4, b"\0\0\0\x05", Some(5.0)),
            (Type::INT8, b"\0\0\0\0\0\0\0\x05", Some(5.0)),
            (Type::OID, b"\xff\xff\xff\xff", Some(4_294_967_295.0)),
            (Type::FLOAT8, &0.1f64.to_be_bytes(), Some(0.1)),
            // As in KEDA, whose client widens it before anybody looks.
            (
                Type::FLOAT4,
                &0.1f32.to_be_bytes(),
                Some(0.100_000_001_490_116_12),
            ),
            (Type::FLOAT8, &f64::NAN.to_be_bytes(), None),
            (Type::FLOAT4, &f32::INFINITY.to_be_bytes(), None),
            (Type::TEXT, b"2.5", Some(2.5)),
            (Type::BPCHAR, b"5  ", None),
            (Type::JSON, b"5", Some(5.0)),
            (Type::JSONB, b"\x015", Some(5.0)),
            (Type::BYTEA, b"5", Some(5.0)),
            (Type::BOOL, b"\x01", None),
            (Type::DATE, b"\0\0\0\x05", None),
            (Type::MONEY, b"\0\0\0\0\0\0\0\x05", None),
            (Type::INT4, b"\x05", None),
        ] {
            assert_eq!(number(&type_, raw).ok(), expected, "{type_}");
        }
    }
}
