//! seriald.
