//! seriald's own API: HTTP/1.1 and JSON over a Unix socket.
//!
//! Read in this order: [`routes`] (what can be asked for), [`access`] (by whom), [`request`]
//! (bytes to requests), [`query`] (what follows a path), [`response`] (answers to bytes),
//! [`answer`] (the way back, for those who ask), [`frames`], [`ring`], [`pacing`] and [`echo`]
//! (consoles), [`metrics`], [`events`].
//!
//! **Invariant:** nothing in here opens a socket, reads a clock or knows the reactor.

pub mod access;
pub mod answer;
pub mod echo;
pub mod events;
pub mod frames;
pub mod metrics;
pub mod metrics_spec;
pub mod pacing;
pub mod query;
pub mod request;
pub mod response;
pub mod ring;
pub mod routes;
