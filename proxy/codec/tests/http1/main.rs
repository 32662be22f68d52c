//! HTTP/1 as a whole: what is accepted, what is refused, and that the place where input is cut never matters.

#![allow(clippy::unwrap_used)]

mod answers;
mod bodies;
mod heads;
mod pieces;
mod script;
mod written;
