//! Values of the application, one of each type.

use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::rc::Rc;

use crate::runtime::WSLoopConfig;

use super::core::guard;
use super::per_loop::PerLoop;

/// Values by type. There are few, so a lookup compares their types in turn.
///
/// # Invariants
/// - It is not borrowed while user code runs: values are made and dropped outside of the borrow.
#[derive(Default)]
pub(crate) struct AnyMap(RefCell<Vec<(TypeId, Rc<dyn Any>)>>);

impl AnyMap {
    pub(crate) fn get<T: Any>(&self) -> Option<Rc<T>> {
        let id = TypeId::of::<T>();
        let found = self.0.borrow().iter().find(|entry| entry.0 == id).map(|entry| Rc::clone(&entry.1));
        found?.downcast().ok()
    }

    /// Sets the value of type `T`. Drops the one that it replaces.
    pub(crate) fn set<T: Any>(&self, value: Rc<T>) {
        let mut value: Rc<dyn Any> = value;
        let id = TypeId::of::<T>();
        let mut values = self.0.borrow_mut();
        match values.iter_mut().find(|entry| entry.0 == id) {
            Some(entry) => std::mem::swap(&mut entry.1, &mut value),
            None => return values.push((id, value)),
        }
        drop(values);
        drop(value);
    }

    /// Drops all values. They may set others meanwhile, which stay. Returns whether there were any.
    pub(crate) fn clear(&self) -> bool {
        let values = self.0.take();
        let had_any = !values.is_empty();
        for value in values {
            guard("dropping a value", || drop(value));
        }
        had_any
    }
}

/// The values of a loop: see [`WSLoopHandle::local`](super::WSLoopHandle::local).
impl PerLoop for AnyMap {
    fn new(_: &WSLoopConfig) -> Self {
        Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_value_of_each_type() {
        let map = AnyMap::default();
        assert!(map.get::<u8>().is_none());
        map.set(Rc::new(1_u8));
        map.set(Rc::new("text"));
        let first = map.get::<u8>().unwrap();
        map.set(Rc::new(2_u8));
        assert_eq!(
            (*first, map.get::<u8>().as_deref(), map.get::<&str>().as_deref()),
            (1, Some(&2), Some(&"text"))
        );
        assert!(map.clear());
        assert!(!map.clear());
    }

    /// Sets another value when it is dropped.
    struct Setting(Rc<AnyMap>);

    impl Drop for Setting {
        fn drop(&mut self) {
            self.0.set(Rc::new(1_u8));
        }
    }

    #[test]
    fn a_value_may_use_the_map_while_it_is_dropped() {
        let map = Rc::new(AnyMap::default());
        map.set(Rc::new(Setting(Rc::clone(&map))));
        map.set(Rc::new(Setting(Rc::clone(&map))));
        assert!(map.get::<u8>().is_some());
        map.clear();
        assert!(map.get::<u8>().is_some(), "set while the others were dropped");
    }
}
