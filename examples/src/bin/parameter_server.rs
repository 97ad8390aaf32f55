//! A parameter server: an actor holds the network, workers push gradients as they have them (no worker waits for another).
//!
//! `cargo run --release -p ray-examples --bin parameter_server`

use std::io::Write;

use anyhow::{Context as _, Result};
use ray_core::prelude::*;
use ray_examples::digits::data::{self, Images, Split};
use ray_examples::digits::model::{self, Model};

const SEED: u64 = 1;
const WORKERS: usize = 2;
const ROUNDS: u64 = 60;
const LEARNING_RATE: f64 = 0.2;

struct ParameterServer {
    parameters: Vec<f32>,
}

#[remote]
impl ParameterServer {
    fn new(parameters: Vec<f32>) -> Self {
        Self { parameters }
    }

    /// Moves the network by what one worker learned, scaled so that all workers together make one step.
    fn push(&mut self, change: Tensor) -> Result<()> {
        let change = change.view::<f32>()?;
        anyhow::ensure!(
            change.len() == self.parameters.len(),
            "a change of {} numbers",
            change.len()
        );
        for (parameter, change) in self.parameters.iter_mut().zip(change) {
            *parameter += change / WORKERS as f32;
        }
        Ok(())
    }

    fn pull(&self) -> Result<Tensor> {
        Ok(Tensor::from_vec(self.parameters.clone(), [self.parameters.len()])?)
    }
}

/// Learns from its share; the server is the only thing it shares with the other workers.
#[remote]
fn work(server: ParameterServerHandle, digits: Table, worker: usize) -> Result<()> {
    let digits = digits.batches().first().context("a table without a batch")?;
    let share = Images::select(digits, &Split::stratified(digits, SEED)?.share(worker, WORKERS))?;
    for round in 0..ROUNDS {
        let before = ray_core::get(&server.pull())?;
        let before = before.view::<f32>()?;
        let mut model = Model::from_parameters(before)?;
        model.train_epoch(&share, LEARNING_RATE, round)?;
        let change: Vec<_> = model
            .parameters()?
            .iter()
            .zip(before)
            .map(|(after, before)| after - before)
            .collect();
        let length = change.len();
        ray_core::get(&server.push(Tensor::from_vec(change, [length])?))?;
    }
    Ok(())
}

fn main() -> Result<()> {
    let _ray = ray_core::init()?;
    let digits = data::load()?;
    let shared = ray_core::put(&Table::from(digits.clone()))?;
    let server = ParameterServer::remote(model::initial_parameters(SEED));
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| work::remote(server.clone(), shared.clone(), worker))
        .collect();
    ray_core::get(&workers)?;
    let test = Images::select(&digits, &Split::stratified(&digits, SEED)?.test)?;
    let parameters = ray_core::get(&server.pull())?;
    let accuracy = Model::from_parameters(parameters.view()?)?.accuracy(&test)?;
    writeln!(
        std::io::stdout(),
        "test accuracy {accuracy:.3} with {WORKERS} workers that never waited for each other"
    )?;
    Ok(())
}
