//! The chunked coding (RFC 9112 7.1), resumable at any byte. No sign, no blank, no bare LF, no size above 64 bits.

use super::Error;

/// Bytes of chunk extensions in one message.
const MAX_EXTENSIONS: u32 = 64 * 1024;

/// Most digits of a size that fits 64 bits.
const MAX_DIGITS: u8 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
}

/// Where the decoder stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunks {
    at: At,
    digits: u8,
    extensions: u32,
    /// The size being read, then what is left of the chunk.
    left: u64,
}

/// What [`Chunks::step`] found at the front of the rest.
pub enum Step {
    /// Give more input.
    More,
    /// This many body bytes start here.
    Data(usize),
    /// The last chunk has been read; the trailer section starts here.
    Trailers,
}

impl Chunks {
    pub fn new() -> Self {
        Chunks { at: At::Size, digits: 0, extensions: 0, left: 0 }
    }

    /// Reads framing bytes up to the next body byte; returns how many were used. Body bytes are counted by `take`.
    pub fn step(&mut self, input: &[u8]) -> Result<(usize, Step), Error> {
        for (used, byte) in input.iter().enumerate() {
            match self.at {
                At::Data => {
                    let here = usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len() - used);
                    return Ok((used, Step::Data(here)));
                }
                At::Trailers => return Ok((used, Step::Trailers)),
                _ => self.framing(*byte)?,
            }
        }
        Ok((input.len(), Step::More))
    }

    /// `n` body bytes were handed out.
    pub fn take(&mut self, n: usize) {
        self.left -= n as u64;
        if self.left == 0 {
            self.at = At::DataCr;
        }
    }

    /// `n` body bytes handed out last came back.
    pub fn untake(&mut self, n: usize) {
        if n > 0 {
            self.left += n as u64;
            self.at = At::Data;
        }
    }

    fn framing(&mut self, byte: u8) -> Result<(), Error> {
        self.at = match (self.at, byte) {
            (At::Size, b'\r') if self.digits > 0 => At::SizeLf,
            (At::Size, b';') if self.digits > 0 => At::Extension,
            (At::Size, _) => {
                let digit = (byte as char).to_digit(16).ok_or(Error::Chunk)?;
                if self.digits == MAX_DIGITS {
                    return Err(Error::Chunk);
                }
                self.digits += 1;
                self.left = self.left << 4 | u64::from(digit);
                At::Size
            }
            (At::Extension, b'\r') => At::SizeLf,
            (At::Extension, _) if crate::text::is_value(byte) => {
                self.extensions += 1;
                if self.extensions > MAX_EXTENSIONS {
                    return Err(Error::TooLarge);
                }
                At::Extension
            }
            (At::SizeLf, b'\n') => {
                self.digits = 0;
                if self.left == 0 { At::Trailers } else { At::Data }
            }
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::Size,
            _ => return Err(Error::Chunk),
        };
        Ok(())
    }
}
