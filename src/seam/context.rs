//! What a callback has at hand: the host, and what the worker remembers.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Host, Wakes};
use crate::seam::store::Store;

/// The surroundings of one callback.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The clock, addresses and cryptography.
    pub host: &'a dyn Host,
    /// What this worker remembers.
    pub locals: &'a Locals,
}

/// A value that each worker has its own of, for one part of a plan: a cache, a queue. The plan itself is the same for all workers and never
/// changes; this names what of it does.
pub struct Local<T> {
    id: u64,
    make: Box<dyn Fn() -> T + Send + Sync>,
}

/// The values of one worker, each made when it is first asked for.
#[derive(Default)]
pub struct Locals {
    values: RefCell<HashMap<u64, Rc<dyn Any>>>,
    wakes: Wakes,
}

impl<'a> Context<'a> {
    /// What all workers share.
    pub fn store(&self) -> &'a dyn Store {
        self.host.store()
    }

    /// Milliseconds since the epoch.
    pub fn now_millis(&self) -> u64 {
        self.host.now_millis()
    }

    /// This worker's value.
    pub fn local<T: 'static>(&self, local: &Local<T>) -> Rc<T> {
        self.locals.get(local)
    }

    /// Where tickets are from.
    pub fn wakes(&self) -> &'a Wakes {
        &self.locals.wakes
    }
}

impl<T> Local<T> {
    /// Names a value that begins like this.
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

    /// Where tickets are from.
    pub fn wakes(&self) -> &Wakes {
        &self.wakes
    }
}

impl fmt::Debug for Locals {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Locals({})", self.values.borrow().len())
    }
}

/// Numbers of all locals in this process.
static NEXT: AtomicU64 = AtomicU64::new(0);
