//! Heads: bytes to [`Request`](crate::Request) and [`Response`](crate::Response).
