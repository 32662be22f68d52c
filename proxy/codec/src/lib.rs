//! Bytes to values and values to bytes: HTTP/1, HTTP/2, the ClientHello peek, the transport header, DNS messages.
//!
//! Nothing here performs I/O, reads a clock or waits; nothing here decides where a request goes. A caller hands in the
//! bytes it has, and gets back how many of them were used and what they mean. Heads borrow from the caller's input or
//! from a [`Scratch`] that one event loop shares between all its connections, so that an idle connection holds no
//! buffer and a request in steady state allocates nothing.
//!
//! Reading order: [`head`] (the neutral request and response), [`event`] (what a connection says),
//! [`h1::Reader`] with [`h1::write`], [`h2::Connection`], [`translate`] (between the two).

pub mod detect;
pub mod dns;
pub mod event;
pub mod fuzz;
pub mod h1;
pub mod h2;
pub mod head;
mod text;
pub mod tls;
pub mod translate;
pub mod transport_header;

pub use event::{Event, Flow, Scratch, Sink, Stream};
pub use head::{Body, Field, Fields, Form, Known, Request, Response, Version};
