//! The name that was probably meant.

/// How far a given name is from a known one, when that is little enough for a slip of the keyboard: a third of the known
/// name's length. Case doesn't count.
pub fn name_distance(given: &str, known: &str) -> Option<usize> {
    let distance = strsim::damerau_levenshtein(&given.to_lowercase(), &known.to_lowercase());
    (distance <= known.len().div_ceil(3)).then_some(distance)
}

/// The known name that is nearest to the given one, when one is near.
///
/// ```
/// assert_eq!(sakidori_engine::nearest("tpoic", ["topic", "group"]), Some("topic"));
/// assert_eq!(sakidori_engine::nearest("host", ["topic", "group"]), None);
/// ```
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .filter_map(|name| Some((name_distance(given, name)?, name)))
        .min()
        .map(|(_, name)| name)
}
