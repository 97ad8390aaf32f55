//! The main example: reads handwritten digits, trained data-parallel, several learning rates at once.
//!
//! `cargo run --release -p ray-examples --bin digits`
//!
//! - The images are one Arrow table, put once; every worker reads it in place.
//! - A trial is a task: it has two `Trainer` actors, each with a share of the images. After each epoch it averages what
//!   they learned and hands out the mean.
//! - The learning rate is chosen by images that no trainer saw, the accuracy is taken on a fifth that chose nothing.
//! - Kill any worker (`kill -9`; the pids are shown): an epoch is a function of its arguments, so it runs again in a
//!   new process and gives the same network.

use std::collections::BTreeMap;
use std::io::Write;
use std::process;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use arrow_array::RecordBatch;
use clap::Parser;
use ray_core::prelude::*;
use ray_examples::digits::data::{self, Images, Split};
use ray_examples::digits::model::{self, Model};
use ray_examples::progress::Progress;
use ray_examples::table::TextTable;
use serde::{Deserialize, Serialize};

const SEED: u64 = 1;

#[derive(Debug, Parser)]
struct Options {
    /// Learning rates to try, each in a trial of its own.
    #[arg(long, value_delimiter = ',', default_values_t = [0.05, 0.1, 0.2, 0.4])]
    learning_rates: Vec<f64>,
    /// Epochs of each trial.
    #[arg(long, default_value_t = 40)]
    epochs: u64,
    /// Trainers of each trial.
    #[arg(long, default_value_t = 2)]
    trainers: usize,
}

/// What one trainer learned in one epoch.
#[derive(Serialize, Deserialize)]
struct Learned {
    parameters: Tensor,
    loss: f32,
    pid: u32,
}

/// A trainer and its share of the images.
struct Trainer {
    share: Images,
}

#[remote(max_restarts = -1, max_task_retries = -1)]
impl Trainer {
    fn new(digits: Table, trainer: usize, trainers: usize) -> Result<Self> {
        let digits = batch(&digits)?;
        let rows = Split::stratified(digits, SEED)?.share(trainer, trainers);
        Ok(Self {
            share: Images::select(digits, &rows)?,
        })
    }

    /// One epoch from `parameters` on. Depends on nothing that an earlier call left, so it may run twice.
    fn epoch(&self, parameters: Tensor, learning_rate: f64, epoch: u64) -> Result<Learned> {
        let mut model = Model::from_parameters(parameters.view()?)?;
        let loss = model.train_epoch(&self.share, learning_rate, epoch)?;
        Ok(Learned {
            parameters: tensor(model.parameters()?)?,
            loss,
            pid: process::id(),
        })
    }
}

/// What the trials say while they run, for the display.
#[derive(Default)]
struct Board {
    trials: BTreeMap<usize, (u64, f32)>,
    pids: BTreeMap<u32, u64>,
}

#[remote(max_restarts = -1, max_task_retries = -1)]
impl Board {
    fn new() -> Self {
        Self::default()
    }

    fn report(&mut self, trial: usize, epochs: u64, loss: f32, pids: Vec<u32>) {
        self.trials.insert(trial, (epochs, loss));
        for pid in pids {
            *self.pids.entry(pid).or_default() += 1;
        }
    }

    /// Epochs done in all, the mean loss, and the processes at work.
    fn state(&self) -> (u64, f32, Vec<u32>) {
        let done = self.trials.values().map(|(epochs, _)| epochs).sum();
        let loss = self.trials.values().map(|(_, loss)| loss).sum::<f32>() / self.trials.len().max(1) as f32;
        (done, loss, self.pids.keys().copied().collect())
    }
}

/// What became of one learning rate.
#[derive(Serialize, Deserialize)]
struct Trial {
    learning_rate: f64,
    validation_accuracy: f64,
    parameters: Tensor,
    seconds: f64,
    /// Epochs by the process that ran them.
    epochs_by_pid: BTreeMap<u32, u64>,
}

#[remote]
fn trial(
    digits: ObjectRef<Table>,
    board: BoardHandle,
    number: usize,
    learning_rate: f64,
    epochs: u64,
    trainers: usize,
) -> Result<Trial> {
    let started = Instant::now();
    let workers: Vec<_> = (0..trainers)
        .map(|trainer| Trainer::remote(digits.clone(), trainer, trainers))
        .collect();
    let mut parameters = tensor(model::initial_parameters(SEED))?;
    let mut epochs_by_pid = BTreeMap::new();
    for epoch in 0..epochs {
        // Put once, read in place by every trainer.
        let shared = ray_core::put(&parameters)?;
        let calls: Vec<_> = workers
            .iter()
            .map(|worker| worker.epoch(shared.clone(), learning_rate, epoch))
            .collect();
        let learned: Vec<Learned> = ray_core::get(&calls)?;
        for one in &learned {
            *epochs_by_pid.entry(one.pid).or_default() += 1;
        }
        let loss = learned.iter().map(|one| one.loss).sum::<f32>() / trainers as f32;
        // Nobody waits for it: a display needs no answer.
        drop(board.report(
            number,
            epoch + 1,
            loss,
            learned.iter().map(|one| one.pid).collect::<Vec<_>>(),
        ));
        let all: Vec<_> = learned
            .iter()
            .map(|one| Ok(one.parameters.view()?.to_vec()))
            .collect::<Result<_>>()?;
        parameters = tensor(model::average(&all)?)?;
    }
    let digits = ray_core::get(&digits)?;
    let digits = batch(&digits)?;
    let validation = Images::select(digits, &Split::stratified(digits, SEED)?.validation)?;
    let validation_accuracy = Model::from_parameters(parameters.view()?)?.accuracy(&validation)?;
    Ok(Trial {
        learning_rate,
        validation_accuracy,
        parameters,
        seconds: started.elapsed().as_secs_f64(),
        epochs_by_pid,
    })
}

fn main() -> Result<()> {
    let options = Options::parse();
    let started = Instant::now();
    let _ray = ray_core::init()?;
    let digits = data::load()?;
    let split = Split::stratified(&digits, SEED)?;
    let shared = ray_core::put(&Table::from(digits.clone()))?;

    let board = Board::remote();
    let trials: Vec<_> = (0..)
        .zip(&options.learning_rates)
        .map(|(number, &rate)| {
            trial::remote(
                shared.clone(),
                board.clone(),
                number,
                rate,
                options.epochs,
                options.trainers,
            )
        })
        .collect();
    watch(&trials, &board, options.epochs)?;
    let trials: Vec<Trial> = ray_core::get(&trials)?;

    let best = trials
        .iter()
        .max_by(|one, other| one.validation_accuracy.total_cmp(&other.validation_accuracy));
    let best = best.context("no learning rate was given")?;
    // Only now, with the choice made, is the test part looked at.
    let test = Images::select(&digits, &split.test)?;
    let mut table = TextTable::new([
        "learning rate",
        "validation",
        "test",
        "seconds",
        "epochs by worker (pid)",
    ]);
    for one in &trials {
        let accuracy = Model::from_parameters(one.parameters.view()?)?.accuracy(&test)?;
        let spread: Vec<_> = one
            .epochs_by_pid
            .iter()
            .map(|(pid, epochs)| format!("{pid}: {epochs}"))
            .collect();
        let (rate, validation) = (one.learning_rate, one.validation_accuracy);
        table.row([
            rate.to_string(),
            format!("{validation:.3}"),
            format!("{accuracy:.3}"),
            format!("{:.1}", one.seconds),
            spread.join(", "),
        ]);
    }
    let accuracy = Model::from_parameters(best.parameters.view()?)?.accuracy(&test)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{table}")?;
    writeln!(
        out,
        "learning rate {} chosen by validation, {} trials in {:.1} s",
        best.learning_rate,
        trials.len(),
        started.elapsed().as_secs_f64()
    )?;
    writeln!(out, "best test accuracy {accuracy:.3}")?;
    Ok(())
}

/// Shows how far the trials are until all have ended.
fn watch(trials: &[ObjectRef<Trial>], board: &BoardHandle, epochs: u64) -> Result<()> {
    let total = epochs * trials.len() as u64;
    let mut progress = Progress::new("training", total);
    let mut shown = 0;
    loop {
        let (_, running) = ray_core::wait(trials.to_vec(), trials.len(), Some(Duration::from_millis(100)))?;
        if running.is_empty() {
            progress.set(total, "done");
            progress.finish();
            return Ok(());
        }
        // A board that was killed starts again from nothing, the display does not.
        let (done, loss, pids) = ray_core::get(&board.state())?;
        shown = shown.max(done);
        progress.set(shown, &format!("loss {loss:.3}, workers {pids:?}"));
    }
}

fn batch(digits: &Table) -> Result<&RecordBatch> {
    digits.batches().first().context("a table without a batch")
}

fn tensor(parameters: Vec<f32>) -> Result<Tensor> {
    let length = parameters.len();
    Ok(Tensor::from_vec(parameters, [length])?)
}
