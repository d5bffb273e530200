//! What tasks receive and send: each behaviour of the systems that the API comes from, by name, and what must hold beyond them.

mod ends;
mod info;
mod polls;

mod adapted;
mod bocadillo;
mod bursts;
mod cancel;
mod half_closed;
mod holding;
mod hostile;
mod leaving;
mod micropie;
mod order;
mod public;
mod pulling;
mod recv;
mod routing;
mod rules;
mod rules_closing;
mod rules_opening;
mod schedules;
mod starlette;
mod trio;
mod wrapped;
