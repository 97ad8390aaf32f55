//! The main example, with and without a `kill -9`.

use std::time::Duration;
use std::{process, thread};

use crate::program::{Program, kill};

const DIGITS: &str = env!("CARGO_BIN_EXE_digits");
/// Two of the trials, so that a test takes half the time.
const SMALL: &[&str] = &["--learning-rates", "0.2,0.4", "--epochs", "40"];

/// Accuracies by learning rate, and the last line.
fn results(lines: &[String]) -> (Vec<Vec<String>>, String) {
    let rows = lines.iter().filter(|line| line.starts_with("0."));
    let rows = rows.map(|row| row.split_whitespace().take(3).map(str::to_owned).collect());
    let best = lines.iter().find(|line| line.starts_with("best test accuracy"));
    (rows.collect(), best.expect("a best accuracy").clone())
}

#[test]
fn the_training_reaches_its_accuracy_and_a_killed_worker_changes_no_digit_of_the_results() {
    let (undisturbed, best) = results(&Program::start(DIGITS, SMALL).finish());
    assert_eq!(undisturbed.len(), 2);
    let accuracy: f64 = best.trim_start_matches("best test accuracy ").parse().unwrap();
    assert!(accuracy >= 0.95, "{best}");
    // Workers come and go; each of the first three is another one of them: of a trial, a trainer or the board.
    for victim in 0..3 {
        let mut program = Program::start(DIGITS, SMALL);
        program.wait_for_line("training ");
        let workers = loop {
            let workers = program.workers();
            assert!(!workers.contains(&process::id()), "{workers:?}");
            if workers.get(victim).is_some_and(|worker| kill(*worker)) {
                break workers;
            }
            thread::sleep(Duration::from_millis(2));
        };
        assert_eq!(
            results(&program.finish()),
            (undisturbed.clone(), best.clone()),
            "victim {victim} of {workers:?}"
        );
    }
}
