//! Which known name somebody may have meant.

/// How many names an error proposes at most.
const MAX_SUGGESTIONS: usize = 3;

/// The known names nearest to `wanted`, best first: the same last segment in another module, or a slip of the keyboard.
pub(crate) fn near_misses<'n>(wanted: &str, known: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    let short = |name: &str| name.rsplit("::").next().unwrap_or_default().to_owned();
    let wanted_short = short(wanted);
    let tolerated = wanted_short.chars().count() / 3 + 1;
    let mut ranked: Vec<(usize, &str)> = known
        .map(|name| (edit_distance(&wanted_short, &short(name)), name))
        .filter(|(distance, _)| *distance <= tolerated)
        .collect();
    ranked.sort_unstable();
    ranked.dedup();
    ranked.into_iter().take(MAX_SUGGESTIONS).map(|(_, name)| name).collect()
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
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_slip_and_a_wrong_module_are_both_recognised() {
        let known = ["app::train", "app::data::load", "app::evaluate"];
        assert_eq!(near_misses("app::trian", known.into_iter()), ["app::train"]);
        assert_eq!(near_misses("app::load", known.into_iter()), ["app::data::load"]);
        assert!(near_misses("app::unrelated_thing", known.into_iter()).is_empty());
    }

    proptest! {
        #[test]
        fn the_distance_is_a_metric(a in "[ab]{0,6}", b in "[ab]{0,6}", c in "[ab]{0,6}") {
            prop_assert_eq!(edit_distance(&a, &a), 0);
            prop_assert_eq!(edit_distance(&a, &b), edit_distance(&b, &a));
            prop_assert!(edit_distance(&a, &c) <= edit_distance(&a, &b) + edit_distance(&b, &c));
        }
    }
}
