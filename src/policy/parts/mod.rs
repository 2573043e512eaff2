//! Parts: named calls to services, made from templates. Aggregates are made of their answers.

mod budget;
mod cache;
mod call;
mod compile;
mod config;
mod each;
mod outcome;
mod part;
mod run;
mod session;
mod value;
mod values;

pub use call::{Pending, Services};
pub use compile::{Parts, Sending};
pub use config::{PartConfig, PartLimitsConfig};
pub use each::{Each, Fan, Make, Many};
pub use outcome::{Outcome, PART_REFUSED, REFUSALS};
pub use part::Part;
pub use run::{Failed, Run, Unit, Units};
pub use session::{Asked, Asking, Session, Turn, no_room};
pub use value::{Settled, Text};
pub use values::{Given, Values};
