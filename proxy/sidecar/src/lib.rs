//! The sidecar's traffic: one mio loop between sockets, moved by the pure decisions of `rules` and the bytes-to-values of
//! `codec`, told what to do by `control` through a queue.
//!
//! Reading order: [`start`] (the composition root), [`engine`] (the loop), [`accept`] and [`intake`] (who comes, and for
//! what), [`opaque`] (bytes), [`http1`], [`http2`], [`exchange`] (requests), [`plan`] (what becomes of them), [`attempt`]
//! (how they get somewhere), [`retry`] (and once more), [`limits`] (how long they may take), [`flow`] and [`keep`] (their
//! bodies), [`answer`] (responses), [`upstream`] and [`dial`] (connections we open), [`io`] and [`output`] (sockets and TLS
//! below all of it), [`trust`] (what becomes of connections when trust moves), [`rest`] (what is given back when nothing
//! happens).

pub mod accept;
pub mod answer;
pub mod app;
pub mod arena;
pub mod attempt;
pub mod balance;
pub mod conn;
pub mod dial;
pub mod drain;
pub mod drive;
pub mod engine;
pub mod exchange;
pub mod failure;
pub mod flow;
pub mod http1;
pub mod http2;
pub mod inbound;
pub mod intake;
pub mod io;
pub mod keep;
pub mod limits;
pub mod opaque;
pub mod options;
pub mod outbound;
pub mod output;
pub mod plan;
pub mod pool;
pub mod quick;
pub mod rest;
pub mod retry;
pub mod side;
pub mod socket;
pub mod start;
pub mod tls;
pub mod trust;
pub mod upstream;
pub mod wheel;
