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
mod value;
mod values;

pub use call::Services;
pub use compile::{Parts, Sending};
pub use config::{PartConfig, PartLimitsConfig};
pub use each::Each;
pub use outcome::{Outcome, PART_REFUSED, REFUSALS};
pub use part::Part;
pub use run::{Failed, Run, Unit, Units};
pub use values::Given;
