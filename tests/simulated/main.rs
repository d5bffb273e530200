//! Whole connections over simulated links: random schedules, and the cases that deserve a test of their own.

mod actions;
mod listener;
mod model;
mod plan;
mod schedules;
mod world;
