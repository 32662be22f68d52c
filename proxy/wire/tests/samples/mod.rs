//! Messages that use every field, for the suites of this folder.

#![allow(dead_code)]

pub mod inbound;
pub mod outbound;
