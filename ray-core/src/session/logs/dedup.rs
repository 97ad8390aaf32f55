//! Counting repeated lines instead of showing them, as Ray does. Pure.
//!
//! - DD-1: the first line of its kind is shown at once.
//! - DD-2: what one source repeats is shown; only what several sources say is counted.
//! - DD-3: lines are of one kind if they differ only in words that contain digits.
//! - DD-4: every line is shown, or counted in exactly one later summary.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// How many kinds are remembered at once. Above it the oldest are summed up early.
const MOST_KINDS: usize = 10_000;

/// Decides which lines are shown. `S` names a source.
#[derive(Debug)]
pub struct Deduplicator<S> {
    window: Duration,
    kinds: HashMap<KindKey, Kind<S>>,
    /// The kinds in order of their windows' starts. One that was forgotten since stands here in vain.
    order: VecDeque<(Duration, KindKey)>,
}

#[derive(Debug)]
struct Kind<S> {
    since: Duration,
    first_source: S,
    /// Whether a source other than the first has said it.
    is_common: bool,
    hidden: u64,
    last_hidden: Option<(S, String)>,
}

impl<S: Clone + PartialEq> Deduplicator<S> {
    /// Counts what is repeated within this time.
    pub fn new(window: Duration) -> Self {
        Self {
            window,
            kinds: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Takes a line; `show` gets what is to be shown now: this line, or summaries that are due.
    pub fn push(&mut self, now: Duration, source: &S, line: &str, mut show: impl FnMut(&S, &str)) {
        self.flush(now, &mut show);
        let Some(key) = kind_of(line) else {
            return show(source, line);
        };
        match self.kinds.get_mut(&key) {
            Some(kind) => {
                kind.is_common |= kind.first_source != *source;
                if !kind.is_common {
                    return show(source, line);
                }
                kind.hidden += 1;
                kind.last_hidden = Some((source.clone(), line.to_owned()));
            }
            None => {
                show(source, line);
                self.remember(now, key, source.clone());
                if self.kinds.len() > MOST_KINDS {
                    self.sum_up_oldest(now, &mut show);
                }
            }
        }
    }

    /// Shows the summaries that are due.
    pub fn flush(&mut self, now: Duration, mut show: impl FnMut(&S, &str)) {
        while self.due().is_some_and(|due| due <= now) {
            self.sum_up_oldest(now, &mut show);
        }
    }

    /// Shows all summaries, because no more lines will come.
    pub fn finish(&mut self, mut show: impl FnMut(&S, &str)) {
        for (_, key) in std::mem::take(&mut self.order) {
            if let Some(kind) = self.kinds.remove(&key) {
                kind.sum_up(&mut show);
            }
        }
    }

    /// When [`flush`](Self::flush) should be called next.
    pub fn due(&self) -> Option<Duration> {
        self.order.front().map(|(since, _)| *since + self.window)
    }

    fn remember(&mut self, now: Duration, key: KindKey, first_source: S) {
        self.order.push_back((now, key));
        let kind = Kind {
            since: now,
            first_source,
            is_common: false,
            hidden: 0,
            last_hidden: None,
        };
        self.kinds.insert(key, kind);
    }

    fn sum_up_oldest(&mut self, now: Duration, show: &mut impl FnMut(&S, &str)) {
        let Some((since, key)) = self.order.pop_front() else {
            return;
        };
        let is_current = self.kinds.get(&key).is_some_and(|kind| kind.since == since);
        if !is_current {
            return;
        }
        let Some(kind) = self.kinds.remove(&key) else { return };
        // Worth counting on: the next ones are hidden from their first on.
        let goes_on = kind.hidden > 1 && self.kinds.len() < MOST_KINDS;
        let first_source = kind.first_source.clone();
        kind.sum_up(show);
        if goes_on {
            self.remember(now, key, first_source);
            if let Some(kind) = self.kinds.get_mut(&key) {
                kind.is_common = true;
            }
        }
    }
}

impl<S> Kind<S> {
    fn sum_up(self, show: &mut impl FnMut(&S, &str)) {
        match (self.hidden, self.last_hidden) {
            (2.., Some((source, line))) => show(&source, &format!("{line} [repeated {}x across cluster]", self.hidden)),
            (_, Some((source, line))) => show(&source, &line),
            (_, None) => {}
        }
    }
}

/// What lines of one kind have in common, as a hash, so that memory does not grow with the lines' length.
type KindKey = u64;

/// DD-3: the line without the words that contain digits, nor the spaces between. `None` if nothing is left.
fn kind_of(line: &str) -> Option<KindKey> {
    let mut words = line
        .split_whitespace()
        .filter(|word| !word.bytes().any(|byte| byte.is_ascii_digit()))
        .peekable();
    words.peek()?;
    let mut hasher = DefaultHasher::new();
    words.for_each(|word| word.hash(&mut hasher));
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(5);

    #[derive(Default)]
    struct Shown(Vec<String>);

    impl Shown {
        fn by(&mut self) -> impl FnMut(&u32, &str) {
            |source, line| self.0.push(format!("{source}: {line}"))
        }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn dd_1_dd_3_what_several_sources_say_is_shown_once_and_then_counted() {
        let (mut dedup, mut shown) = (Deduplicator::new(WINDOW), Shown::default());
        for source in 0..13 {
            dedup.push(at(0), &source, &format!("step {source} done"), shown.by());
        }
        assert_eq!(shown.0, ["0: step 0 done"]);
        assert_eq!(dedup.due(), Some(at(5)));
        dedup.flush(at(4), shown.by());
        assert_eq!(shown.0.len(), 1);
        dedup.flush(at(5), shown.by());
        assert_eq!(shown.0[1..], ["12: step 12 done [repeated 12x across cluster]"]);
        // It goes on: counted from the first on.
        dedup.push(at(6), &3, "step 1 done", shown.by());
        dedup.push(at(6), &4, "step 1 done", shown.by());
        assert_eq!(shown.0.len(), 2);
        dedup.finish(shown.by());
        assert_eq!(shown.0[2..], ["4: step 1 done [repeated 2x across cluster]"]);
    }

    #[test]
    fn dd_2_what_one_source_repeats_is_shown() {
        let (mut dedup, mut shown) = (Deduplicator::new(WINDOW), Shown::default());
        for _ in 0..3 {
            dedup.push(at(0), &1, "epoch 1", shown.by());
        }
        assert_eq!(shown.0.len(), 3);
    }

    #[test]
    fn a_single_repetition_is_shown_as_it_was_and_numbers_alone_are_never_hidden() {
        let (mut dedup, mut shown) = (Deduplicator::new(WINDOW), Shown::default());
        dedup.push(at(0), &1, "hello", shown.by());
        dedup.push(at(0), &2, "hello", shown.by());
        dedup.push(at(0), &1, "42", shown.by());
        dedup.push(at(0), &2, "43", shown.by());
        dedup.flush(at(9), shown.by());
        assert_eq!(shown.0, ["1: hello", "1: 42", "2: 43", "2: hello"]);
        assert_eq!(dedup.due(), None);
    }

    proptest! {
        #[test]
        fn dd_4_every_line_is_shown_or_counted(lines in proptest::collection::vec((0_u64..4, 0_u32..3, "[ab] [0-9]"), 0..60)) {
            let (mut dedup, mut shown) = (Deduplicator::new(WINDOW), Shown::default());
            let mut now = 0;
            for (pause, source, line) in &lines {
                now += pause;
                dedup.push(at(now), source, line, shown.by());
            }
            dedup.finish(shown.by());
            let count = |line: &String| match line.split_once("[repeated ") {
                Some((_, rest)) => rest.split_once('x').unwrap().0.parse().unwrap(),
                None => 1,
            };
            prop_assert_eq!(shown.0.iter().map(count).sum::<usize>(), lines.len());
            prop_assert!(dedup.kinds.is_empty() && dedup.order.is_empty());
        }
    }
}
