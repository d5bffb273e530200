//! A tree that breaks each rule on sizes, with limits of 30 lines a file, 4 a function, 2 files an impl.

mod connection;
mod proto;
mod runtime;
