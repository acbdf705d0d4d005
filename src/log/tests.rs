//! Tests of the whole log over real files, faults and crashes included.
