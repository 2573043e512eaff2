//! `tollgate keys` as a real program, each test against SQLite and against PostgreSQL.

mod administration;
mod changes;
mod commands;
mod events;
mod receiver;
mod world;

/// Runs each function on both engines, and then looks whether a key or a secret has leaked.
macro_rules! on_both_engines {
    ($($name:ident),+ $(,)?) => { $(
        mod $name {
            use crate::world::World;

            fn run(world: &World) {
                super::$name(world);
                world.assert_nothing_leaked();
            }

            #[test]
            fn on_sqlite() {
                run(&World::sqlite());
            }

            #[test]
            fn on_postgres() {
                run(&World::postgres());
            }
        }
    )+ };
}
pub(crate) use on_both_engines;
