//! HTTP/2 as a whole: two connections talking, and peers that break every rule (security ).

#![allow(clippy::unwrap_used)]

mod both;
mod floods;
mod frames;
mod leaving;
mod messages;
mod script;
