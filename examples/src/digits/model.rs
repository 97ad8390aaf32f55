//! The network: 64 pixels, one hidden layer, 10 digits; trained by plain gradient descent on the CPU.
//!
//! Everything is a function of its arguments, the seed among them. So a call that runs again after a worker died gives
//! what the first would have given, on any worker.
//!
//! One thread computes: candle gives a matrix product to more threads only from 589,824 multiplications on (the
//! compiler checks `ONE_THREAD` below), and no product here is that large. Parallelism comes from the workers, one core each.

use anyhow::{Context as _, Result, ensure};
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::loss::cross_entropy;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::data::{CLASSES, Images, PIXELS};

const HIDDEN: usize = 64;
/// Images of one step.
const BATCH: usize = 16;
/// Images looked at together where nothing is learned.
const EVALUATION_BATCH: usize = 128;
/// Multiplications from which on `gemm`, candle's matrix product, uses more than one thread.
const ONE_THREAD: usize = 48 * 48 * 256;
const _: () = assert!(BATCH * PIXELS * HIDDEN < ONE_THREAD && EVALUATION_BATCH * PIXELS * HIDDEN < ONE_THREAD);

/// Shape of each parameter tensor, in the order in which they lie in a flat list.
const SHAPES: [(usize, usize); 4] = [(PIXELS, HIDDEN), (1, HIDDEN), (HIDDEN, CLASSES), (1, CLASSES)];

/// How many numbers the network consists of.
pub const PARAMETERS: usize = PIXELS * HIDDEN + HIDDEN + HIDDEN * CLASSES + CLASSES;

/// The parameters of a new network: uniform, scaled to the number of inputs (He), drawn with `seed`.
pub fn initial_parameters(seed: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut parameters = Vec::with_capacity(PARAMETERS);
    for (inputs, outputs) in SHAPES {
        // A bias (one row) starts at zero.
        let bound = if inputs == 1 { 0.0 } else { (6.0 / inputs as f32).sqrt() };
        parameters.extend((0..inputs * outputs).map(|_| bound * random.random_range(-1.0..1.0_f32)));
    }
    parameters
}

/// The mean of what several workers learned, number by number.
pub fn average(parameters: &[Vec<f32>]) -> Result<Vec<f32>> {
    let (first, rest) = parameters.split_first().context("the average of no parameters")?;
    let mut sum = first.clone();
    for other in rest {
        ensure!(
            other.len() == sum.len(),
            "parameters of {} and of {} numbers",
            sum.len(),
            other.len()
        );
        sum.iter_mut().zip(other).for_each(|(sum, one)| *sum += one);
    }
    let count = parameters.len() as f32;
    sum.iter_mut().for_each(|sum| *sum /= count);
    Ok(sum)
}

/// The network.
#[derive(Debug)]
pub struct Model {
    layers: [Var; 4],
}

impl Model {
    /// The network with these [`PARAMETERS`] numbers.
    pub fn from_parameters(parameters: &[f32]) -> Result<Self> {
        ensure!(
            parameters.len() == PARAMETERS,
            "a network of {} numbers, not {PARAMETERS}",
            parameters.len()
        );
        let mut rest = parameters;
        let mut next = |(rows, columns): (usize, usize)| -> Result<Var> {
            let (these, after) = rest.split_at(rows * columns);
            rest = after;
            Ok(Var::from_slice(these, (rows, columns), &Device::Cpu)?)
        };
        let [first, first_bias, second, second_bias] = SHAPES;
        Ok(Self {
            layers: [next(first)?, next(first_bias)?, next(second)?, next(second_bias)?],
        })
    }

    /// Its numbers.
    pub fn parameters(&self) -> Result<Vec<f32>> {
        let mut parameters = Vec::with_capacity(PARAMETERS);
        for layer in &self.layers {
            parameters.extend(layer.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(parameters)
    }

    /// Sees each of `images` once, in an order drawn with `seed`; the mean loss.
    pub fn train_epoch(&mut self, images: &Images, learning_rate: f64, seed: u64) -> Result<f32> {
        let mut order: Vec<_> = (0..images.len()).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        let mut total = 0.0;
        for batch in order.chunks(BATCH) {
            total += self.step(images, batch, learning_rate)? * batch.len() as f32;
        }
        Ok(total / images.len().max(1) as f32)
    }

    fn step(&mut self, images: &Images, batch: &[usize], learning_rate: f64) -> Result<f32> {
        let (pixels, labels) = tensors(images, batch)?;
        let loss = cross_entropy(&self.forward(&pixels)?, &labels)?;
        let gradients = loss.backward()?;
        for layer in &self.layers {
            let gradient = gradients.get(layer).context("a layer without a gradient")?;
            layer.set(&layer.sub(&(gradient * learning_rate)?)?)?;
        }
        Ok(loss.to_scalar()?)
    }

    /// The part of `images` that it recognises.
    pub fn accuracy(&self, images: &Images) -> Result<f64> {
        ensure!(!images.is_empty(), "the accuracy on no image");
        let rows: Vec<_> = (0..images.len()).collect();
        let mut right = 0;
        for batch in rows.chunks(EVALUATION_BATCH) {
            let (pixels, labels) = tensors(images, batch)?;
            let answers = self.forward(&pixels)?.argmax(1)?;
            let hits = answers.eq(&labels)?.to_dtype(DType::U32)?.sum_all()?;
            right += hits.to_scalar::<u32>()?;
        }
        Ok(f64::from(right) / images.len() as f64)
    }

    fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let [first, first_bias, second, second_bias] = &self.layers;
        let hidden = pixels.matmul(first)?.broadcast_add(first_bias)?.relu()?;
        Ok(hidden.matmul(second)?.broadcast_add(second_bias)?)
    }
}

fn tensors(images: &Images, rows: &[usize]) -> Result<(Tensor, Tensor)> {
    let mut pixels = Vec::with_capacity(rows.len() * PIXELS);
    let mut labels = Vec::with_capacity(rows.len());
    for &row in rows {
        pixels.extend_from_slice(&images.pixels[row * PIXELS..(row + 1) * PIXELS]);
        labels.push(images.labels[row]);
    }
    let pixels = Tensor::from_vec(pixels, (rows.len(), PIXELS), &Device::Cpu)?;
    let labels = Tensor::from_vec(labels, rows.len(), &Device::Cpu)?;
    Ok((pixels, labels))
}

#[cfg(test)]
mod tests {
    use super::super::data::{Split, load};
    use super::*;

    /// What the example does, without workers: `workers` shares, averaged after each epoch.
    fn trained(workers: usize, epochs: u64, learning_rate: f64) -> (Model, Split) {
        let digits = load().unwrap();
        let split = Split::stratified(&digits, 1).unwrap();
        let shares: Vec<_> = (0..workers)
            .map(|worker| Images::select(&digits, &split.share(worker, workers)).unwrap())
            .collect();
        let mut parameters = initial_parameters(1);
        for epoch in 0..epochs {
            let learned: Vec<_> = shares
                .iter()
                .map(|share| {
                    let mut model = Model::from_parameters(&parameters).unwrap();
                    model.train_epoch(share, learning_rate, epoch).unwrap();
                    model.parameters().unwrap()
                })
                .collect();
            parameters = average(&learned).unwrap();
        }
        (Model::from_parameters(&parameters).unwrap(), split)
    }

    fn test_accuracy(model: &Model, split: &Split) -> f64 {
        model
            .accuracy(&Images::select(&load().unwrap(), &split.test).unwrap())
            .unwrap()
    }

    #[test]
    fn one_worker_learns_to_read_digits() {
        let (model, split) = trained(1, 20, 0.1);
        let accuracy = test_accuracy(&model, &split);
        assert!(accuracy >= 0.95, "{accuracy}");
    }

    #[test]
    fn two_workers_that_average_their_parameters_learn_to_read_digits() {
        let (model, split) = trained(2, 30, 0.2);
        let accuracy = test_accuracy(&model, &split);
        assert!(accuracy >= 0.95, "{accuracy}");
    }

    #[test]
    fn the_same_epoch_gives_the_same_parameters() {
        let once = trained(2, 2, 0.1).0.parameters().unwrap();
        assert_eq!(once, trained(2, 2, 0.1).0.parameters().unwrap());
    }

    #[test]
    fn a_network_is_its_parameters() {
        let parameters = initial_parameters(3);
        assert_eq!(parameters.len(), PARAMETERS);
        assert_eq!(
            Model::from_parameters(&parameters).unwrap().parameters().unwrap(),
            parameters
        );
        assert_ne!(parameters, initial_parameters(4));
        assert!(Model::from_parameters(&parameters[1..]).is_err());
    }

    #[test]
    fn the_average_is_taken_number_by_number() {
        assert_eq!(average(&[vec![1.0, 2.0], vec![3.0, 6.0]]).unwrap(), [2.0, 4.0]);
        assert!(average(&[]).is_err());
        assert!(average(&[vec![1.0], vec![1.0, 2.0]]).is_err());
    }
}
