//! `partitionLimitation`: numbers and ranges of partitions, in the two ways that KEDA reads them.

use crate::clients::kafka::PartitionIds;

/// The `kafka` trigger's: `1-4, 8`, numbers as Go's `ParseInt` takes them.
///
/// # Errors
/// KEDA's, with the part that is none.
pub fn go_ranges(text: &str) -> Result<PartitionIds, String> {
    let number = |text: &str| text.trim().parse::<i32>().ok().map(i64::from);
    let part = |part: &str| {
        let part = part.trim();
        let invalid = || format!("invalid partition limitation: {part}");
        match part.split_once('-') {
            Some((_, end)) if end.contains('-') => {
                Err(format!("invalid partition limitation range: {part}"))
            }
            Some((start, end)) => {
                let (start, end) = (number(start), number(end));
                let (start, end) = start.zip(end).ok_or_else(invalid)?;
                Ok(start..=end)
            }
            None => {
                let number = number(part).ok_or_else(invalid)?;
                Ok(number..=number)
            }
        }
    };
    text.split(',')
        .map(part)
        .collect::<Result<_, _>>()
        .map(PartitionIds)
}

/// The `apache-kafka` trigger's: the same with JSON's numbers.
///
/// # Errors
/// With the part that is none.
pub fn ranges(text: &str) -> Result<PartitionIds, String> {
    let number = |text: &str| {
        let text = text.trim();
        let json = text == "0" || !text.trim_start_matches('-').starts_with(['0', '+']);
        text.parse::<i64>().ok().filter(|_| json)
    };
    let part = |part: &str| {
        let part = part.trim();
        let expected = || {
            format!("partitionLimitation has {part:?}: expected numbers and ranges such as 1-4,8")
        };
        let (start, end) = part.split_once('-').unwrap_or((part, part));
        let (start, end) = number(start).zip(number(end)).ok_or_else(expected)?;
        Ok(start..=end)
    };
    text.split(',')
        .map(part)
        .collect::<Result<_, _>>()
        .map(PartitionIds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ranges() {
        for (text, expected) in [
            ("3", vec![3..=3]),
            ("1-4,8", vec![1..=4, 8..=8]),
            (" 1 - 4 , 8 ", vec![1..=4, 8..=8]),
            ("0-0", vec![0..=0]),
            #[expect(clippy::reversed_empty_ranges)]
            ("4-1", vec![4..=1]),
        ] {
            let expected = PartitionIds(expected);
            assert_eq!(go_ranges(text), Ok(expected.clone()), "{text}");
            assert_eq!(ranges(text), Ok(expected), "{text}");
        }
        // Go's numbers, which JSON doesn't have.
        assert_eq!(go_ranges("+1,02"), Ok(PartitionIds(vec![1..=1, 2..=2])));
    }

    #[test]
    fn what_is_none() {
        for (text, message) in [
            ("", "invalid partition limitation: "),
            ("1,,2", "invalid partition limitation: "),
            ("a", "invalid partition limitation: a"),
            ("1-b", "invalid partition limitation: 1-b"),
            ("-1", "invalid partition limitation: -1"),
            ("1-2-3", "invalid partition limitation range: 1-2-3"),
            ("3000000000", "invalid partition limitation: 3000000000"),
        ] {
            assert_eq!(go_ranges(text), Err(message.to_owned()), "{text}");
        }
        for text in ["", "1,,2", "a", "1-b", "-1", "1-2-3", "+1", "02", "1.5"] {
            assert!(ranges(text).is_err(), "{text}");
        }
    }
}
