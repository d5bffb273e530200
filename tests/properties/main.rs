//! The protocol against models of it that are slow and obvious: what holds for every stream, every split and every order of
//! calls.
//!
//! Everything random comes from a seed, and every failure prints it.

mod closing;
mod lifecycle;
mod lives;
mod model;
mod receiving;
mod sending;
mod sessions;
mod streams;
