//! The small examples run and say what they should.

use crate::program::Program;

#[test]
fn pi_comes_near_to_pi() {
    let lines = Program::start(env!("CARGO_BIN_EXE_pi"), &[]).finish();
    assert!(
        lines.iter().any(|line| line.starts_with("pi is about 3.14")),
        "{lines:?}"
    );
}

#[test]
fn the_parameter_server_learns() {
    let lines = Program::start(env!("CARGO_BIN_EXE_parameter_server"), &[]).finish();
    assert!(
        lines.iter().any(|line| line.starts_with("test accuracy 0.9")),
        "{lines:?}"
    );
}

#[test]
fn streaming_counts_all_primes() {
    let lines = Program::start(env!("CARGO_BIN_EXE_streaming"), &[]).finish();
    assert_eq!(lines.len(), 10);
    assert!(lines[9].contains("17984 primes up to 199999"), "{lines:?}");
}

#[test]
fn the_pool_reads_every_text_once() {
    let lines = Program::start(env!("CARGO_BIN_EXE_actor_pool"), &[]).finish();
    // Four in the sentence, which stands 1 + 2 + .. + 20 times in the texts.
    assert!(lines.contains(&"letter o: 840 times".to_owned()), "{lines:?}");
}
