//! HPACK (RFC 7541): header blocks to fields in `decode`, back in `encode`; the static and the dynamic table in `table`, the
//! code of strings in `huffman`.
//!
//! Nothing here knows what a field means.

mod decode;
mod encode;
mod huffman;
mod table;

pub use decode::{Decoder, Fields, Found};
pub use encode::{
    empties_table, encode_authority, encode_empty_table, encode_field, encode_method, encode_path, encode_scheme,
    encode_status,
};
pub use table::{Name, OVERHEAD, PSEUDO, Part};
