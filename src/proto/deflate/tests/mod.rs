mod examples;
mod negotiation;
mod streams;
mod twin;
