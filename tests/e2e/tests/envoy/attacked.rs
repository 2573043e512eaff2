//! Some thousands of the connections that `scripts/attack` makes for as long as it is told to.

use tollgate_e2e::attack::Attacked;

#[test]
fn no_vm_dies_and_nothing_forged_comes_through() {
    let attacked = Attacked::start();
    let outcome = attacked.attack(1, 0..4000);
    assert!(outcome.faults.is_empty(), "{:#?}", outcome.faults);
    assert!(outcome.requests > 200, "few came through: {}", outcome.requests);
    attacked.envoy.assert_no_vm_died();
}
