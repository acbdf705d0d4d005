//! Tests of ch-sim.
