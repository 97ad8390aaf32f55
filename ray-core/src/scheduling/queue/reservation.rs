//! The one reservation of a queue, in time: it is held, it rests, it is open to the next.

use std::time::Duration;

use super::ShapeNo;

/// How many times its own length a reservation rests after it ended in vain.
pub(super) const REST: u32 = 4;

/// The state of the reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reservation {
    /// Nothing is reserved, anything may be.
    None,
    /// Resources are kept free for a shape.
    Held {
        by: ShapeNo,
        until: Duration,
        window: Duration,
    },
    /// Nothing is reserved, nor may be: the others have their share of the time.
    Resting { until: Duration },
}

impl Reservation {
    pub(super) fn held_by(by: ShapeNo, now: Duration, window: Duration) -> Self {
        Self::Held {
            by,
            until: now.saturating_add(window),
            window,
        }
    }

    pub(super) fn holder(&self) -> Option<ShapeNo> {
        match self {
            Self::Held { by, .. } => Some(*by),
            Self::None | Self::Resting { .. } => None,
        }
    }

    pub(super) fn ends(&self) -> Option<Duration> {
        match self {
            Self::Held { until, .. } | Self::Resting { until } => Some(*until),
            Self::None => None,
        }
    }

    /// Moves on to `now`. Gives the shape whose window ended in vain.
    pub(super) fn advance(&mut self, now: Duration) -> Option<ShapeNo> {
        match *self {
            Self::Held { by, until, window } if now >= until => {
                *self = Self::Resting {
                    until: now.saturating_add(window.saturating_mul(REST)),
                };
                Some(by)
            }
            Self::Resting { until } if now >= until => {
                *self = Self::None;
                None
            }
            _ => None,
        }
    }
}
