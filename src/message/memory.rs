//! What policies keep of one request while it is held, or for one another.

use std::any::Any;

/// At most one value of each type. The core does not know the types: each is its policy's own.
#[derive(Debug, Default)]
pub struct Memory(Vec<Box<dyn Any>>);

impl Memory {
    /// Keeps a value in place of the one of its type.
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

    /// Takes the value of this type out.
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
