//! Medians, and the time of one call.

use std::time::{Duration, Instant};

/// The median of `values`; the mean of the middle two for an even number, `NaN` for none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.get(middle), sorted.len() % 2) {
        (None, _) => f64::NAN,
        (Some(&upper), 1) => upper,
        (Some(&upper), _) => sorted
            .get(middle.wrapping_sub(1))
            .map_or(upper, |&lower| (lower + upper) / 2.0),
    }
}

/// The median number of seconds that one of `calls` calls of `call` takes, after `warm_up` calls that are not counted.
/// `pause` lies between two calls and is not counted either.
pub(crate) fn call_p50<E>(
    warm_up: usize,
    calls: usize,
    pause: Duration,
    mut call: impl FnMut() -> Result<(), E>,
) -> Result<f64, E> {
    let mut seconds = Vec::with_capacity(calls);
    for index in 0..warm_up + calls {
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
        let started = Instant::now();
        call()?;
        if index >= warm_up {
            seconds.push(started.elapsed().as_secs_f64());
        }
    }
    Ok(median(&seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_the_middle_two() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn warm_up_calls_are_made_and_not_counted() {
        let mut made = 0;
        let p50 = call_p50(3, 2, Duration::ZERO, || {
            made += 1;
            if made > 3 {
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok::<(), ()>(())
        });
        assert_eq!(made, 5);
        assert!(p50.unwrap() >= 0.005, "the quick warm-up calls were counted");
    }
}
