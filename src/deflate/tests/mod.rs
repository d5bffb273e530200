mod examples;
mod inflating;
mod negotiation;
mod streams;
mod twin;
