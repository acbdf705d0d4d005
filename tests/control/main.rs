//! Our own API over real sockets: what is asked for and answered, who may, and what no client can
//! do to the loop.

#[path = "../embed/noting.rs"]
mod noting;
#[path = "../support/mod.rs"]
mod support;

// The judge: what ch-sim says that it handed over.
#[allow(dead_code)]
#[path = "../../tools/ch-sim/mod.rs"]
mod ch_sim;
#[allow(dead_code)]
#[path = "../support/fleet.rs"]
mod fleets;

mod asking;
mod calls;
mod client;
mod consoles;
mod crowd;
mod deadlines;
mod endings;
mod events;
mod garbage;
mod launching;
mod life;
mod logs;
mod metrics;
mod openapi;
mod pasting;
mod program;
mod prometheus;
mod requests;
mod schema;
mod scraped_program;
mod scraping;
mod served;
mod socket;
mod standing_still;
mod turns;
mod viewer;
