//! Tests of the reference counts: single events, and whole clusters of tables under random schedules.

mod lineage;
mod simulation;
mod table;
