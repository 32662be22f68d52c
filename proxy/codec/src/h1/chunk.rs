//! The chunked coding, byte by byte where needed and slice by slice where possible.
