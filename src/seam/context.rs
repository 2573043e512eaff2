//! The context of a callback: the host, and the worker's own state.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Host, Wakes};
use crate::clock::{Millis, Seconds};
use crate::seam::store::Store;

/// The context of one callback.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The host.
    pub host: &'a dyn Host,
    /// The worker's own state.
    pub locals: &'a Locals,
}

/// A worker-local value of one part of a plan, such as a cache or a queue. The plan itself is immutable and shared;
/// this is the key to the value that each worker has.
pub struct Local<T> {
    id: u64,
    make: Box<dyn Fn() -> T + Send + Sync>,
}

/// The local values of one worker, each created at its first use.
#[derive(Default)]
pub struct Locals {
    values: RefCell<HashMap<u64, Rc<dyn Any>>>,
    wakes: Wakes,
}

impl<'a> Context<'a> {
    /// The store that all workers share.
    pub fn store(&self) -> &'a dyn Store {
        self.host.store()
    }

    /// The wall clock, since the epoch.
    pub fn wall(&self) -> Millis {
        self.host.wall()
    }

    /// The wall clock in whole seconds, since the epoch.
    pub fn wall_seconds(&self) -> Seconds {
        self.host.wall_seconds()
    }

    /// The monotonic clock, the same for all workers.
    pub fn monotonic(&self) -> Millis {
        self.host.monotonic()
    }

    /// This worker's value.
    pub fn local<T: 'static>(&self, local: &Local<T>) -> Rc<T> {
        self.locals.get(local)
    }

    /// The source of tickets.
    pub fn wakes(&self) -> &'a Wakes {
        &self.locals.wakes
    }
}

impl<T> Local<T> {
    /// A local value that is created by `make`.
    pub fn new(make: impl Fn() -> T + Send + Sync + 'static) -> Self {
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            make: Box::new(make),
        }
    }
}

impl<T: Default + 'static> Default for Local<T> {
    fn default() -> Self {
        Self::new(T::default)
    }
}

impl<T> fmt::Debug for Local<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Local({})", self.id)
    }
}

impl Locals {
    fn get<T: 'static>(&self, local: &Local<T>) -> Rc<T> {
        let found = self.values.borrow().get(&local.id).cloned();
        if let Some(Ok(value)) = found.map(Rc::downcast::<T>) {
            return value;
        }
        let value = Rc::new((local.make)());
        self.values
            .borrow_mut()
            .insert(local.id, Rc::clone(&value) as Rc<dyn Any>);
        value
    }

    /// The source of tickets.
    pub fn wakes(&self) -> &Wakes {
        &self.wakes
    }
}

impl fmt::Debug for Locals {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Locals({})", self.values.borrow().len())
    }
}

/// The next id of a [`Local`] in this process.
static NEXT: AtomicU64 = AtomicU64::new(0);
