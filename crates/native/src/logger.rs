//! The log: lines go to Envoy's own, under its name for dynamic modules.

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::abi;

struct Logger;

static LOGGER: Logger = Logger;

/// Has all lines written to Envoy's log. A second call does nothing.
pub(crate) fn begin() {
    if log::set_logger(&LOGGER).is_ok() {
        log::set_max_level(LevelFilter::Trace);
    }
}

/// Envoy's number of a level.
const fn number(level: Level) -> u32 {
    match level {
        Level::Trace => 0,
        Level::Debug => 1,
        Level::Info => 2,
        Level::Warn => 3,
        Level::Error => 4,
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        abi::logs(number(metadata.level()))
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            abi::log_line(number(record.level()), &record.args().to_string());
        }
    }

    fn flush(&self) {}
}
