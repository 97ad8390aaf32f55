//! Quantities of resources: fixed point with four decimals, so that sums are exact and `0.1 + 0.2` is `0.3`.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub, SubAssign};

/// How many steps make one unit.
const STEPS: i64 = 10_000;

/// The largest quantity, in units: 128 TiB when the unit is a byte. Six of them still add up without saturating.
const MAX_UNITS: i64 = 1 << 47;

/// A quantity of a resource in ten-thousandths. What is asked for is never negative; what is left may be (see
/// [`NodeResources::reacquire_cpu_oversubscribed`](super::NodeResources::reacquire_cpu_oversubscribed)).
///
/// Sums saturate: one that would pass the 64-bit range is no honest quantity, and fits nowhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Fixed(i64);

/// A number that is no quantity of a resource.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum QuantityError {
    /// Below zero.
    #[error("{given} is negative: ask for 0 or more")]
    Negative {
        /// What was given.
        given: f64,
    },
    /// NaN or infinite.
    #[error("{given} is not a finite number")]
    NotFinite {
        /// What was given.
        given: f64,
    },
    /// More decimals than are counted.
    #[error("{given} is too precise: resources are counted in steps of 0.0001")]
    TooPrecise {
        /// What was given.
        given: f64,
    },
    /// Beyond every machine.
    #[error("{given} is too large: the limit is {MAX_UNITS}")]
    TooLarge {
        /// What was given.
        given: f64,
    },
}

impl Fixed {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// One unit: a whole CPU, a whole GPU, one byte.
    pub const ONE: Self = Self(STEPS);

    /// So many whole units.
    pub const fn whole(units: u32) -> Self {
        Self(units as i64 * STEPS)
    }

    /// So many bytes, for resources that are counted in bytes.
    ///
    /// # Errors
    /// [`QuantityError::TooLarge`] from 128 TiB on.
    pub fn bytes(bytes: u64) -> Result<Self, QuantityError> {
        match i64::try_from(bytes) {
            Ok(units) if units <= MAX_UNITS => Ok(Self(units * STEPS)),
            _ => Err(QuantityError::TooLarge { given: bytes as f64 }),
        }
    }

    /// The quantity written as a float, as users give it.
    ///
    /// # Errors
    /// [`QuantityError`] when it is negative, not finite, too large, or has more than four decimals.
    pub fn from_f64(given: f64) -> Result<Self, QuantityError> {
        if !given.is_finite() {
            return Err(QuantityError::NotFinite { given });
        }
        if given < 0.0 {
            return Err(QuantityError::Negative { given });
        }
        if given > MAX_UNITS as f64 {
            return Err(QuantityError::TooLarge { given });
        }
        let scaled = given * STEPS as f64;
        let steps = scaled.round();
        // A decimal such as 0.1 is not exact in binary: allow for the rounding of the literal and of the product.
        let rounding = (scaled * 4.0 * f64::EPSILON).max(1e-6);
        if (scaled - steps).abs() > rounding {
            return Err(QuantityError::TooPrecise { given });
        }
        Ok(Self(steps as i64))
    }

    /// The quantity of so many ten-thousandths, as frames carry it.
    ///
    /// # Errors
    /// [`QuantityError`] when it is negative or too large.
    pub fn from_steps(steps: i64) -> Result<Self, QuantityError> {
        let given = steps as f64 / STEPS as f64;
        match steps {
            ..0 => Err(QuantityError::Negative { given }),
            _ if steps > MAX_UNITS * STEPS => Err(QuantityError::TooLarge { given }),
            _ => Ok(Self(steps)),
        }
    }

    /// The quantity in ten-thousandths.
    pub const fn steps(self) -> i64 {
        self.0
    }

    /// The quantity as a float, for display and scores.
    pub fn to_f64(self) -> f64 {
        self.0 as f64 / STEPS as f64
    }

    /// Whether it is a number of whole units.
    pub const fn is_whole(self) -> bool {
        self.0 % STEPS == 0
    }

    /// The number of whole units that hold this quantity.
    pub(super) const fn units_rounded_up(self) -> i64 {
        self.0.div_euclid(STEPS) + (self.0.rem_euclid(STEPS) > 0) as i64
    }
}

impl Add for Fixed {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Fixed {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl AddAssign for Fixed {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Fixed {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Sum for Fixed {
    fn sum<I: Iterator<Item = Self>>(quantities: I) -> Self {
        quantities.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (units, steps) = (
            self.0.unsigned_abs() / STEPS as u64,
            self.0.unsigned_abs() % STEPS as u64,
        );
        if steps == 0 {
            return write!(f, "{sign}{units}");
        }
        let decimals = format!("{steps:04}");
        write!(f, "{sign}{units}.{}", decimals.trim_end_matches('0'))
    }
}

impl fmt::Debug for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenths_add_up_exactly() {
        let tenth = Fixed::from_f64(0.1).unwrap();
        let sum: Fixed = std::iter::repeat_n(tenth, 10).sum();
        assert_eq!(sum, Fixed::ONE);
    }

    #[test]
    fn numbers_that_are_no_quantity_are_refused_each_with_its_reason() {
        use QuantityError as E;
        assert!(matches!(Fixed::from_f64(-1.0), Err(E::Negative { .. })));
        assert!(matches!(Fixed::from_f64(f64::NAN), Err(E::NotFinite { .. })));
        assert!(matches!(Fixed::from_f64(f64::INFINITY), Err(E::NotFinite { .. })));
        assert!(matches!(Fixed::from_f64(0.00005), Err(E::TooPrecise { .. })));
        assert!(matches!(Fixed::from_f64(1e300), Err(E::TooLarge { .. })));
        assert!(matches!(Fixed::bytes(u64::MAX), Err(E::TooLarge { .. })));
        assert!(matches!(Fixed::from_steps(-1), Err(E::Negative { .. })));
    }

    #[test]
    fn large_and_small_quantities_survive_the_way_through_a_float() {
        for steps in [0, 1, 9_999, 10_000, 123_456_789, (1 << 40) * STEPS, MAX_UNITS * STEPS] {
            let fixed = Fixed::from_steps(steps).unwrap();
            assert_eq!(Fixed::from_f64(fixed.to_f64()).unwrap(), fixed);
        }
    }

    #[test]
    fn text_shows_no_more_decimals_than_needed() {
        assert_eq!(Fixed::from_f64(1.5).unwrap().to_string(), "1.5");
        assert_eq!(Fixed::whole(4).to_string(), "4");
        assert_eq!((Fixed::ZERO - Fixed::from_f64(0.0625).unwrap()).to_string(), "-0.0625");
    }
}
