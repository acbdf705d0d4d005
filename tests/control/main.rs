//! Our own API over real sockets: what is asked for and answered, who may, and what no client can
//! do to the loop.

#[path = "../embed/noting.rs"]
mod noting;
#[path = "../support/mod.rs"]
mod support;

mod asking;
mod client;
mod consoles;
mod deadlines;
mod events;
mod garbage;
mod launching;
mod life;
mod logs;
mod metrics;
mod openapi;
mod program;
mod prometheus;
mod requests;
mod schema;
mod scraped_program;
mod scraping;
mod served;
mod socket;
mod viewer;
