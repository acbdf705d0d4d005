//! A stand-in for Cloud Hypervisor.
fn main() {}
