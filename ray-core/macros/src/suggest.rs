//! Which known word somebody may have meant.

/// The known word nearest to `wanted`, if one is near.
pub(crate) fn nearest<'w>(wanted: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let tolerated = wanted.chars().count() / 3 + 1;
    let ranked = known.into_iter().map(|word| (edit_distance(wanted, word), word));
    ranked
        .min()
        .filter(|(distance, _)| *distance <= tolerated)
        .map(|(_, word)| word)
}

/// Levenshtein's distance in characters.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        assert_eq!(nearest("num_cpu", ["num_gpus", "num_cpus"]), Some("num_cpus"));
        assert_eq!(nearest("color", ["num_gpus", "num_cpus"]), None);
    }
}
