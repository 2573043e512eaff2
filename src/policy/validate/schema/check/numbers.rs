//! Numbers, compared as JSON Schema compares them.

use serde_json::Number;

pub(super) fn compared(one: &Number, other: &Number) -> std::cmp::Ordering {
    match (one.as_i128(), other.as_i128()) {
        (Some(one), Some(other)) => one.cmp(&other),
        _ => {
            let float = |number: &Number| number.as_f64().unwrap_or_default();
            float(one).total_cmp(&float(other))
        }
    }
}

/// Of fractions as near as doubles tell: 0.3 is a multiple of 0.1.
pub(super) fn is_multiple(number: &Number, unit: &Number) -> bool {
    if let (Some(number), Some(unit)) = (number.as_i128(), unit.as_i128()) {
        return number.checked_rem(unit) == Some(0);
    }
    let quotient = number.as_f64().zip(unit.as_f64()).map(|(number, unit)| number / unit);
    quotient.is_some_and(|quotient| (quotient - quotient.round()).abs() <= f64::EPSILON * quotient.abs().max(1.0))
}
