//! Where the lines of settled keys are: 24 bytes a key, instead of what they say.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use crate::key::CustomId;

/// Where the two lines are that say everything about a key whose only job is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lines {
    pub(crate) intent: u64,
    pub(crate) saved: u64,
}

/// In the place of one that was taken out.
const GONE: Lines = Lines { intent: u64::MAX, saved: u64::MAX };

/// The settled keys, by the hash of their ids. What is found has to be compared with the line itself.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    sorted: Vec<(u64, Lines)>,
    /// Not sorted in yet.
    recent: HashMap<u64, Lines>,
}

impl Settled {
    pub(crate) fn find(&self, id: &CustomId) -> Option<Lines> {
        let hash = hash(id);
        let sorted = || self.position(hash).map(|at| self.sorted[at].1);
        self.recent.get(&hash).copied().or_else(sorted).filter(|lines| *lines != GONE)
    }

    pub(crate) fn remove(&mut self, id: &CustomId) {
        let hash = hash(id);
        self.recent.remove(&hash);
        if let Some(at) = self.position(hash) {
            self.sorted[at].1 = GONE;
        }
    }

    /// A key without lines here is added. `false`: its hash is that of another key, which stays.
    pub(crate) fn insert(&mut self, id: &CustomId, lines: Lines) -> bool {
        if self.find(id).is_some() {
            return false;
        }
        let hash = hash(id);
        if let Some(at) = self.position(hash) {
            self.sorted[at].1 = lines;
            return true;
        }
        self.recent.insert(hash, lines);
        if self.recent.len() > 1024.max(self.sorted.len() / 16) {
            let sorted = self.sorted.len();
            self.sorted.reserve_exact(self.recent.len());
            self.sorted.extend(self.recent.drain());
            self.recent.shrink_to(1024);
            self.sorted[sorted..].sort_unstable_by_key(|(hash, _)| *hash);
            // Two sorted runs: the stable sort only merges them.
            self.sorted.sort_by_key(|(hash, _)| *hash);
        }
        true
    }

    /// The outputs of a settled key were saved again.
    pub(crate) fn update(&mut self, id: &CustomId, saved: u64) {
        let hash = hash(id);
        let at = self.position(hash);
        if let Some(lines) = self.recent.get_mut(&hash).or_else(|| at.map(|at| &mut self.sorted[at].1)) {
            lines.saved = saved;
        }
    }

    /// The lines of all settled keys, in the order in which they were saved.
    pub(crate) fn all(&self) -> Vec<Lines> {
        let sorted = self.sorted.iter().map(|(_, lines)| lines).filter(|lines| **lines != GONE);
        let mut all: Vec<_> = self.recent.values().chain(sorted).copied().collect();
        all.sort_unstable_by_key(|lines| lines.saved);
        all
    }

    fn position(&self, hash: u64) -> Option<usize> {
        self.sorted.binary_search_by_key(&hash, |(hash, _)| *hash).ok()
    }
}

fn hash(id: &CustomId) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_keys_are_found_again_each_with_its_own_lines() {
        let mut settled = Settled::default();
        let id = |number: u64| CustomId::new(format!("sku-{number}")).unwrap();
        let lines = |number| Lines { intent: number, saved: 100_000 - number };
        for number in 0..20_000 {
            assert!(settled.insert(&id(number), lines(number)));
            assert!(!settled.insert(&id(number), lines(7)));
        }
        settled.update(&id(3), 5);
        settled.update(&id(19_999), 6);
        for number in 0..20_000 {
            let saved = if number == 3 {
                5
            } else if number == 19_999 {
                6
            } else {
                100_000 - number
            };
            assert_eq!(settled.find(&id(number)), Some(Lines { intent: number, saved }), "{number}");
        }
        assert_eq!(settled.find(&id(20_000)), None);
        for number in [0, 19_999] {
            settled.remove(&id(number));
            assert_eq!(settled.find(&id(number)), None);
            assert_eq!(settled.all().len(), 19_999);
            assert!(settled.insert(&id(number), lines(number)));
            assert_eq!(settled.find(&id(number)), Some(lines(number)));
        }
        let all = settled.all();
        assert_eq!(all.len(), 20_000);
        assert!(all.is_sorted_by_key(|lines| lines.saved));
    }
}
