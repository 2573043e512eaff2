//! Data that policies store with one request, for when it is woken up or for each other.

use std::any::Any;

/// A map from a type to one value of it. The types are private to policies.
#[derive(Debug, Default)]
pub struct Memory(Vec<Box<dyn Any>>);

impl Memory {
    /// Stores a value, replacing one of the same type.
    pub fn put<T: 'static>(&mut self, value: T) {
        match self.0.iter_mut().find_map(|own| own.downcast_mut::<T>()) {
            Some(own) => *own = value,
            None => self.0.push(Box::new(value)),
        }
    }

    /// The value of this type.
    pub fn get<T: 'static>(&self) -> Option<&T> {
        self.0.iter().find_map(|own| own.downcast_ref())
    }

    /// Removes the value of this type.
    pub fn take<T: 'static>(&mut self) -> Option<T> {
        let place = self.0.iter().position(|own| own.is::<T>())?;
        self.0.swap_remove(place).downcast().ok().map(|own| *own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_value_of_each_type() {
        let mut memory = Memory::default();
        memory.put(1_u8);
        memory.put("a");
        memory.put(2_u8);
        assert_eq!((memory.get::<u8>(), memory.get::<u16>()), (Some(&2), None));
        assert_eq!((memory.take::<u8>(), memory.take::<u8>()), (Some(2), None));
        assert_eq!(memory.take::<&str>(), Some("a"));
    }
}
