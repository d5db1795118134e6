//! The workflows that this process is running.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Their ids. DBOS knows only which it has claimed.
#[derive(Clone, Default)]
pub(crate) struct Running(Arc<Mutex<HashSet<String>>>);

impl Running {
    /// It runs until this is dropped.
    pub(crate) fn enter(&self, id: String) -> Guard {
        self.lock().insert(id.clone());
        Guard { running: self.clone(), id }
    }

    pub(crate) fn has(&self, id: &str) -> bool {
        self.lock().contains(id)
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Guard {
    running: Running,
    id: String,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.running.lock().remove(&self.id);
    }
}
