//! Saved states in object storage: an object each, `<number>.state`.
//!
//! An object is the id of the process that put it, 16 bytes, and then a record, or nothing. One without a record is a
//! *claim*: whoever opens the place takes the next number with one, and reads the states only then. Names are put only
//! where they are new (a conditional put), and after each put the names are listed.
//!
//! - CK-12: a save counts only if its name was new and no higher one was there afterwards; so does a claim. A process takes
//!   each next number only when it has the one before. So whoever opens the place later either reads the save, or has
//!   taken its name, or is seen by it: the process that opened last wins, and those before it cannot save any more, and are
//!   told so. There is no lock, which a dead machine would leave behind.
//! - CK-13: an attempt whose answer was lost may have put its object, and a later save finds it. The id tells it from those
//!   of others, and the bytes from those of this save.

use bytes::{Bytes, BytesMut};

use super::{PlaceError, first_whole, name_of, number_in};
use crate::ids::WorkerId;
use crate::storage::{Bucket, BucketError, Put};
use crate::worker::execute::actor::record::Record;

pub(super) const ANEW: &str = "remove its objects";
/// The id at the beginning of an object.
const WRITER: usize = 16;
/// How often the next number is tried: each time another object has come to be.
const TRIES: u32 = 100;

/// What became of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// By this object.
    Now,
    /// By another object of this process.
    Before,
    ByAnother,
    /// By nobody, although it was not free: another attempt with it was under way.
    Not,
}

/// The actor's part of a bucket.
#[derive(Debug)]
pub(in crate::worker::execute::actor) struct Storage {
    bucket: Bucket,
    key: String,
    writer: [u8; WRITER],
    /// This process's claim.
    claim: u64,
    /// The last number that this process has taken.
    last: u64,
    /// The last state that was written or read whole.
    whole: Option<u64>,
    /// Why no further save can count.
    fenced: Option<String>,
}

impl Storage {
    pub(super) fn open(bucket: Bucket, key: &str) -> Result<Self, PlaceError> {
        let mut place = Self {
            bucket,
            key: key.to_owned(),
            writer: *WorkerId::random().as_bytes(),
            claim: 0,
            last: 0,
            whole: None,
            fenced: None,
        };
        for _ in 0..TRIES {
            let number = place.numbers()?.last().copied().unwrap_or_default().saturating_add(1);
            let taken = place.put(number, &Bytes::copy_from_slice(&place.writer))?;
            if taken == Taken::Now {
                // CK-12: those between may have come and gone since they were listed.
                if place.numbers()?.last() == Some(&number) {
                    (place.claim, place.last) = (number, number);
                    return Ok(place);
                }
                place.remove_one(number);
            }
        }
        Err(PlaceError::InUse {
            at: place.bucket.url_of(&place.key),
        })
    }

    fn name(&self, number: u64) -> String {
        format!("{}/{}", self.key, name_of(number))
    }

    pub(super) fn shown(&self, number: u64) -> String {
        self.bucket.url_of(&self.name(number))
    }

    /// The numbers that are taken, in order.
    fn numbers(&self) -> Result<Vec<u64>, BucketError> {
        let names = self.bucket.list(&self.key)?;
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| number_in(name)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Takes a number with an object.
    fn put(&self, number: u64, object: &Bytes) -> Result<Taken, BucketError> {
        let name = self.name(number);
        if self.bucket.create(&name, object)? == Put::Created {
            return Ok(Taken::Now);
        }
        // CK-13.
        Ok(match self.bucket.read(&name)? {
            Some(there) if there == *object => Taken::Now,
            Some(there) if there.starts_with(&self.writer) => Taken::Before,
            Some(_) => Taken::ByAnother,
            None => Taken::Not,
        })
    }

    pub(super) fn newest(&mut self) -> Result<Option<Record>, PlaceError> {
        let mut numbers = self.numbers()?;
        numbers.retain(|number| *number < self.claim);
        let at = || self.bucket.url_of(&self.key);
        let newest = first_whole(at, ANEW, numbers.into_iter().rev(), |number| {
            let name = self.name(number);
            let Some(mut object) = self.bucket.read(&name)? else {
                return Ok(None);
            };
            if object.len() == WRITER {
                // Its process has ended, or is fenced by this one's claim.
                self.remove_one(number);
                return Ok(None);
            }
            let record = object.split_off(WRITER.min(object.len()));
            Ok(Some((record, self.bucket.url_of(&name))))
        })?;
        self.whole = newest.as_ref().map(|record| record.number);
        Ok(newest)
    }

    pub(super) fn write(&mut self, mut record: Record) -> Result<(), String> {
        if let Some(why) = &self.fenced {
            return Err(why.clone());
        }
        let failed = |error: BucketError| format!("cannot be saved: {error}");
        let taken = (0..TRIES).find_map(|_| {
            record.number = self.last.saturating_add(1);
            match self.put(record.number, &self.object(&record)) {
                Ok(Taken::Before) => {
                    // An older state of this process, whose save had failed.
                    self.last = record.number;
                    None
                }
                Ok(taken) => Some(Ok(taken)),
                Err(error) => Some(Err(failed(error))),
            }
        });
        match taken.unwrap_or(Ok(Taken::Not))? {
            Taken::Now => {}
            Taken::Before | Taken::Not => {
                let shown = self.shown(record.number);
                return Err(format!(
                    "cannot be saved: {shown}: its name was not free, and nothing bears it"
                ));
            }
            Taken::ByAnother => return Err(self.fence(record.number)),
        }
        self.last = record.number;
        let before = self.whole.replace(record.number);
        // CK-12.
        let numbers = self.numbers().map_err(failed)?;
        if numbers.last().is_some_and(|last| *last > record.number) {
            self.remove_one(record.number);
            return Err(self.fence(record.number));
        }
        // CK-3. What cannot be removed now is removed after a later save.
        for number in numbers.into_iter().filter(|number| *number < record.number) {
            if number == self.claim || before.is_some_and(|before| before != number) {
                self.remove_one(number);
            }
        }
        Ok(())
    }

    fn object(&self, record: &Record) -> Bytes {
        let mut object = BytesMut::from(&self.writer[..]);
        object.extend_from_slice(&record.to_bytes());
        object.freeze()
    }

    /// No save of this process counts any more.
    fn fence(&mut self, number: u64) -> String {
        let why = format!(
            "cannot be saved any more: another process has taken over {}; give the actor another name, namespace or checkpoint_place, or end that process",
            self.shown(number)
        );
        self.fenced = Some(why.clone());
        why
    }

    fn remove_one(&self, number: u64) {
        if let Err(error) = self.bucket.remove(&self.name(number)) {
            tracing::debug!(target: "ray_core::worker", %error, number, "an old state of an actor stays");
        }
    }

    pub(super) fn remove(&self) {
        match self.numbers() {
            Ok(numbers) => numbers.into_iter().for_each(|number| self.remove_one(number)),
            Err(error) => {
                tracing::debug!(target: "ray_core::worker", %error, "the states of an actor that has ended stay");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use object_store::memory::InMemory;

    use super::*;
    use crate::ids::ActorId;
    use crate::storage::testing::{Trouble, Unsteady};

    fn bucket(store: &Arc<Unsteady>) -> Bucket {
        Bucket::of_store(store.clone(), Duration::from_secs(30))
    }

    fn open(store: &Arc<Unsteady>) -> Storage {
        Storage::open(bucket(store), "ns.actor").unwrap()
    }

    fn save(place: &mut Storage, state: &str) -> Result<(), String> {
        place.write(Record {
            number: 0,
            actor: ActorId::default(),
            type_name: "Counter".into(),
            state: Bytes::copy_from_slice(state.as_bytes()),
            calls: Bytes::new(),
        })
    }

    fn newest(place: &mut Storage) -> Option<String> {
        let record = place.newest().unwrap()?;
        Some(String::from_utf8(record.state.to_vec()).unwrap())
    }

    #[test]
    fn the_newest_and_the_one_before_are_kept_and_claims_go() {
        let store = Unsteady::new(Trouble::default());
        let mut place = open(&store);
        assert_eq!(newest(&mut place), None);
        for state in ["one", "two", "three"] {
            save(&mut place, state).unwrap();
        }
        assert_eq!(place.numbers().unwrap(), [3, 4]);
        let mut later = open(&store);
        assert_eq!(newest(&mut later).unwrap(), "three");
        save(&mut later, "four").unwrap();
        assert_eq!(later.numbers().unwrap(), [4, 6]);
        later.remove();
        assert!(later.numbers().unwrap().is_empty());
    }

    #[test]
    fn ck_12_who_opens_later_fences_those_before_for_good() {
        let store = Unsteady::new(Trouble::default());
        let (mut first, mut second) = (open(&store), open(&store));
        let error = save(&mut first, "stale").unwrap_err();
        assert!(
            error.contains("another process has taken over test://bucket/ns.actor/"),
            "{error}"
        );
        // Also when its name is free again.
        for state in ["one", "two", "three"] {
            save(&mut second, state).unwrap();
        }
        assert!(save(&mut first, "stale").is_err());
        first.fenced = None;
        assert!(save(&mut first, "stale").is_err());
        let mut third = open(&store);
        assert_eq!(newest(&mut third).unwrap(), "three");
    }

    #[test]
    fn ck_12_a_claim_among_numbers_that_were_used_and_removed_does_not_count() {
        let store = Unsteady::new(Trouble::default());
        let mut first = open(&store);
        // Between the look of the second at the numbers and its claim.
        store.before_next_put(move || {
            for state in ["one", "two", "three"] {
                save(&mut first, state).unwrap();
            }
        });
        let mut second = open(&store);
        assert_eq!(newest(&mut second).unwrap(), "three");
    }

    #[test]
    fn ck_13_what_an_attempt_put_whose_answer_was_lost_is_ones_own() {
        let store = Unsteady::new(Trouble::default());
        let mut place = open(&store);
        store.lose_answers(1);
        save(&mut place, "one").unwrap();
        assert_eq!(newest_of_new(&store), "one");
        // The object of a save that has failed is older than that of the next one.
        let mut place = open(&store);
        place.bucket = Bucket::of_store(store.clone(), Duration::from_millis(50));
        store.lose_answers(u32::MAX);
        let error = save(&mut place, "two").unwrap_err();
        assert!(error.contains("lost"), "{error}");
        store.lose_answers(0);
        place.bucket = bucket(&store);
        save(&mut place, "three").unwrap();
        assert_eq!(newest_of_new(&store), "three");
    }

    #[test]
    fn ck_13_a_name_that_is_only_contested_fences_nobody() {
        let store = Unsteady::new(Trouble::default());
        let mut place = open(&store);
        store.contest(1);
        let error = save(&mut place, "one").unwrap_err();
        assert!(error.contains("not free"), "{error}");
        save(&mut place, "two").unwrap();
        assert_eq!(newest_of_new(&store), "two");
    }

    fn newest_of_new(store: &Arc<Unsteady>) -> String {
        newest(&mut open(store)).unwrap()
    }

    #[test]
    fn ck_3_a_damaged_object_is_passed_over_and_two_are_an_error_that_names_them() {
        let store = Unsteady::new(Trouble::default());
        let mut place = open(&store);
        save(&mut place, "one").unwrap();
        save(&mut place, "two").unwrap();
        store.damage("under/ns.actor/00000000000000000003.state");
        let mut place = open(&store);
        assert_eq!(newest(&mut place).unwrap(), "one");
        store.damage("under/ns.actor/00000000000000000002.state");
        let error = place.newest().unwrap_err().to_string();
        assert!(
            error.contains("00002.state") && error.contains("00003.state"),
            "{error}"
        );
    }

    /// Processes open the place and count in it, in an unsteady store.
    #[test]
    fn ck_12_no_save_that_counts_is_lost_or_made_twice_whoever_opens_when() {
        let store = Unsteady::new(Trouble {
            loses: 0.1,
            refuses: 0.1,
            lags: true,
        });
        let counted = Mutex::new(BTreeSet::new());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..60 {
                        let mut place = open(&store);
                        let mut value: u64 = newest(&mut place).map_or(0, |text| text.parse().unwrap());
                        for _ in 0..10 {
                            // Lost if the save fails: an actor's process would have died.
                            match save(&mut place, &(value + 1).to_string()) {
                                Ok(()) => value += 1,
                                Err(_) => break,
                            }
                            assert!(counted.lock().unwrap().insert(value), "{value} was saved twice");
                        }
                    }
                });
            }
        });
        let counted = counted.into_inner().unwrap();
        let last: u64 = newest_of_new(&store).parse().unwrap();
        assert!(
            counted.last().is_some_and(|highest| *highest <= last),
            "{counted:?} {last}"
        );
        assert!(!counted.is_empty());
    }

    #[test]
    fn a_store_that_cannot_be_reached_is_an_error_with_url_and_cause() {
        let store = Arc::new(InMemory::new());
        let dead = Unsteady::over(
            store,
            Trouble {
                refuses: 1.0,
                ..Trouble::default()
            },
        );
        let bucket = Bucket::of_store(dead, Duration::from_millis(20));
        let error = Storage::open(bucket, "ns.actor").unwrap_err().to_string();
        assert!(
            error.contains("test://bucket/ns.actor") && error.contains("refused"),
            "{error}"
        );
        assert!(error.contains("checkpoint_storage_timeout_ms"), "{error}");
    }
}
