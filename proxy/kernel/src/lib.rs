//! What the standard library and rustix cannot say about the kernel: descriptors that were inherited, processes that are
//! forked and become another program, signals taken as data, an allocator that counts.
//!
//! This is the only crate with `unsafe`. It decides nothing and knows no word of the mesh: whatever can be written
//! safely belongs elsewhere. Every `unsafe` block says why it is sound.
#![allow(unsafe_code)]

#[cfg(feature = "count")]
pub mod count;
pub mod datagram;
mod descriptor;
pub mod memory;
pub mod process;
pub mod signal;

pub use descriptor::{close_range_from, close_unowned, inherited, original_destination, replace, set_mark};

use std::io;

/// Makes this process's memory and descriptors unreadable to others of the same user (`PR_SET_DUMPABLE` 0, seams §9).
///
/// An `execve` undoes it: the sidecar calls this first thing in `main`.
pub fn undumpable() -> io::Result<()> {
    Ok(rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?)
}
