//! The images as an Arrow table, and who may see which of them.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use arrow_array::cast::AsArray;
use arrow_array::types::UInt8Type;
use arrow_array::{ArrayRef, FixedSizeListArray, RecordBatch, UInt8Array};
use arrow_csv::ReaderBuilder;
use arrow_schema::{DataType, Field, Schema};
use flate2::read::GzDecoder;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// Pixels of one image, 8 rows of 8.
pub const PIXELS: usize = 64;
/// Digits, 0 to 9.
pub const CLASSES: usize = 10;
/// The brightest pixel.
const WHITE: f32 = 16.0;

// Part of the executable, so that workers and any directory will do.
const DIGITS_CSV_GZ: &[u8] = include_bytes!("../../data/digits.csv.gz");

/// All images: a column `pixels` (lists of 64 bytes) and a column `label`.
pub fn load() -> Result<RecordBatch> {
    let fields: Vec<_> = (0..=PIXELS)
        .map(|column| Field::new(format!("c{column}"), DataType::UInt8, false))
        .collect();
    let reader = ReaderBuilder::new(Arc::new(Schema::new(fields)))
        .with_header(false)
        .with_batch_size(4_096)
        .build(GzDecoder::new(DIGITS_CSV_GZ))
        .context("opening digits.csv.gz")?;
    let mut pixels = Vec::new();
    let mut labels = Vec::new();
    for batch in reader {
        let batch = batch.context("reading digits.csv.gz")?;
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| column.as_primitive::<UInt8Type>().values())
            .collect();
        let (label, image) = columns.split_last().context("digits.csv.gz has no column")?;
        for row in 0..batch.num_rows() {
            pixels.extend(image.iter().map(|column| column[row]));
        }
        labels.extend_from_slice(label);
    }
    let item = Arc::new(Field::new("pixel", DataType::UInt8, false));
    let pixels = FixedSizeListArray::try_new(item, PIXELS as i32, Arc::new(UInt8Array::from(pixels)), None)
        .context("64 pixels for each image")?;
    let columns: [(&str, ArrayRef); 2] = [
        ("pixels", Arc::new(pixels)),
        ("label", Arc::new(UInt8Array::from(labels))),
    ];
    RecordBatch::try_from_iter(columns).context("building the table of digits")
}

/// Which rows serve which purpose. No row serves two.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// Rows that the network learns from.
    pub train: Vec<usize>,
    /// Rows that choose between networks.
    pub validation: Vec<usize>,
    /// Rows that say how good the chosen network is, and nothing else.
    pub test: Vec<usize>,
}

impl Split {
    /// Of each digit one fifth for the test and one fifth of the rest for the validation, drawn with `seed`.
    pub fn stratified(digits: &RecordBatch, seed: u64) -> Result<Self> {
        let labels = labels(digits)?;
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut split = Self {
            train: Vec::new(),
            validation: Vec::new(),
            test: Vec::new(),
        };
        for class in 0..CLASSES {
            let mut rows: Vec<_> = (0..labels.len())
                .filter(|&row| usize::from(labels.value(row)) == class)
                .collect();
            rows.shuffle(&mut random);
            let rest = rows.split_off(rows.len() / 5);
            let (validation, train) = rest.split_at(rest.len() / 5);
            split.test.extend(rows);
            split.validation.extend_from_slice(validation);
            split.train.extend_from_slice(train);
        }
        split.train.shuffle(&mut random);
        Ok(split)
    }

    /// The rows that worker `worker` of `workers` learns from: every `workers`th, so that all digits are in each share.
    pub fn share(&self, worker: usize, workers: usize) -> Vec<usize> {
        self.train.iter().skip(worker).step_by(workers).copied().collect()
    }
}

/// Images and labels in the form in which the network takes them.
#[derive(Clone, Debug, PartialEq)]
pub struct Images {
    /// One image after another, each pixel from 0 to 1.
    pub pixels: Vec<f32>,
    /// The digit of each image.
    pub labels: Vec<u32>,
}

impl Images {
    /// The images in `rows` of `digits`.
    pub fn select(digits: &RecordBatch, rows: &[usize]) -> Result<Self> {
        let labels = labels(digits)?;
        let lists = digits
            .column_by_name("pixels")
            .and_then(|column| column.as_fixed_size_list_opt());
        let lists = lists.context("the table has no column `pixels` of lists")?;
        ensure!(
            lists.value_length() == PIXELS as i32,
            "an image of {} pixels",
            lists.value_length()
        );
        let mut images = Self {
            pixels: Vec::with_capacity(rows.len() * PIXELS),
            labels: Vec::with_capacity(rows.len()),
        };
        for &row in rows {
            ensure!(
                row < digits.num_rows(),
                "row {row} of a table with {} rows",
                digits.num_rows()
            );
            let image = lists.value(row);
            let image = image
                .as_primitive_opt::<UInt8Type>()
                .context("pixels that are no bytes")?;
            images
                .pixels
                .extend(image.values().iter().map(|&pixel| f32::from(pixel) / WHITE));
            images.labels.push(u32::from(labels.value(row)));
        }
        Ok(images)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

fn labels(digits: &RecordBatch) -> Result<&UInt8Array> {
    let column = digits
        .column_by_name("label")
        .and_then(|column| column.as_primitive_opt::<UInt8Type>());
    column.context("the table has no column `label` of bytes")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_table_holds_every_image_with_its_label() {
        let digits = load().unwrap();
        assert_eq!(digits.num_rows(), 1_797);
        let first = Images::select(&digits, &[0]).unwrap();
        assert_eq!(first.labels, [0]);
        assert_eq!(
            first.pixels[..6],
            [0.0, 0.0, 5.0 / 16.0, 13.0 / 16.0, 9.0 / 16.0, 1.0 / 16.0]
        );
        assert!(Images::select(&digits, &[1_797]).is_err());
    }

    #[test]
    fn every_row_serves_exactly_one_purpose() {
        let split = Split::stratified(&load().unwrap(), 1).unwrap();
        let all: HashSet<_> = [&split.train, &split.validation, &split.test]
            .into_iter()
            .flatten()
            .collect();
        assert_eq!(all.len(), 1_797);
        assert_eq!(split.train.len() + split.validation.len() + split.test.len(), 1_797);
    }

    #[test]
    fn the_test_part_is_a_fifth_of_each_digit_and_depends_on_the_seed_alone() {
        let digits = load().unwrap();
        let split = Split::stratified(&digits, 7).unwrap();
        assert_eq!(split, Split::stratified(&digits, 7).unwrap());
        assert_ne!(split, Split::stratified(&digits, 8).unwrap());
        let count = |rows: &[usize], digit| {
            Images::select(&digits, rows)
                .unwrap()
                .labels
                .iter()
                .filter(|&&label| label == digit)
                .count()
        };
        let every_row: Vec<_> = (0..digits.num_rows()).collect();
        for digit in 0..CLASSES as u32 {
            assert_eq!(count(&split.test, digit), count(&every_row, digit) / 5);
        }
    }

    #[test]
    fn the_shares_of_the_workers_are_the_training_part() {
        let split = Split::stratified(&load().unwrap(), 1).unwrap();
        let mut shares: Vec<_> = (0..3).flat_map(|worker| split.share(worker, 3)).collect();
        let mut train = split.train.clone();
        shares.sort_unstable();
        train.sort_unstable();
        assert_eq!(shares, train);
    }
}
