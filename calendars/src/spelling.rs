//! What was probably meant by a name that doesn't exist.

/// Edit distance, when it is small enough for a slip of the keyboard: a third of the name's length. Case doesn't count.
pub fn distance(given: &str, name: &str) -> Option<usize> {
    let distance = strsim::damerau_levenshtein(&given.to_lowercase(), &name.to_lowercase());
    (distance <= name.len().div_ceil(3)).then_some(distance)
}

/// The candidate that is nearest to what was given, when one is near.
pub fn nearest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .filter_map(|name| Some((distance(given, name)?, name)))
        .min()
        .map(|(_, name)| name)
}
