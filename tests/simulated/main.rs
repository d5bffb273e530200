//! Whole connections over simulated links: random schedules, and the cases that deserve a test of their own.

mod actions;
mod attached;
mod budget;
mod closing;
mod coverage;
mod flow;
mod gathering;
mod heartbeats;
mod holding;
mod http;
mod listener;
mod liveness;
mod metrics;
mod model;
mod opening;
mod plan;
mod public;
mod recorder;
mod refusal;
mod reports;
mod schedules;
mod serving;
mod world;
