//! DNS messages for the stub resolver: one question in, answers out (RFC 1035, RFC 6891, RFC 2782).
//!
//! Resolves nothing and forwards nothing: what is not ours, the caller passes on as the bytes it received.

mod read;
mod write;

pub use read::{read_query, reverse_address};
pub use write::{write_failure, write_response};

use std::net::{Ipv4Addr, Ipv6Addr};

/// Largest name in text form, without the final dot (security F21-1).
pub const MAX_NAME: usize = 253;

/// Longest time to live we give, in seconds (seams 17).
pub const MAX_TTL: u32 = 5;

/// A question. Types and classes are their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    pub id: u16,
    pub recursion_desired: bool,
    /// Lower case, dotted, without the final dot; labels with bytes that would not survive text (`.`, blanks,
    /// controls, from 0x80) make `plain` false.
    pub name: String,
    /// The name may be compared as text.
    pub plain: bool,
    pub kind: Kind,
    /// 1 is Internet.
    pub class: u16,
    /// Response size the client accepts over UDP: 512 without EDNS, at most 4,096.
    pub udp_size: u16,
    pub edns: bool,
    /// The question as received, with the client's case.
    question: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    A,
    Aaaa,
    Ptr,
    Srv,
    Any,
    Other(u16),
}

/// The data of one answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Ptr(String),
    /// Goes with the addresses of `target`, if given, in the additional section.
    Srv {
        priority: u16,
        weight: u16,
        port: u16,
        target: String,
    },
}

/// Response code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    NoError = 0,
    FormatError = 1,
    ServerFailure = 2,
    NoSuchName = 3,
    NotImplemented = 4,
    Refused = 5,
}

/// Why a query was not understood. With `id`, answer with [`write_failure`]; without, drop it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid {
    pub id: Option<u16>,
    pub code: Code,
}

const MAX_LABEL: usize = 63;
const CLASS_INTERNET: u16 = 1;
const TYPE_OPT: u16 = 41;
/// UDP size we name in our own EDNS record.
const OUR_UDP_SIZE: u16 = 4_096;
const RESPONSE: u16 = 0x8000;
const RECURSION_DESIRED: u16 = 0x0100;
