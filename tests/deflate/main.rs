//! Compressed messages through both ends of the library: over simulated links, on real sockets, beside zlib.

mod agreement;
mod ends;
mod inbound;
mod outbound;
mod pairs;
mod prepared;
mod sockets;
