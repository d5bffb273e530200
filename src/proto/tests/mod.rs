//! Tests of the protocol against slow and obvious reference implementations, over random streams,
//! splits and orders of calls.
//!
//! Random values come from a seed, and every failure prints it.

mod closing;
mod lifecycle;
mod lives;
mod receiving;
mod sending;
mod sessions;
mod streams;
mod timing;
