//! How many units a job takes: what is known at the start, and what responses teach.

use std::{collections::HashMap, time::Duration};

use luma_agents::types::{CreateGeneration, GenerationType, Model};

/// The most units of a job. A larger number is a mistake of the one who wrote it.
const MOST: u32 = 1_000;

/// Jobs of one model and one type: they weigh the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Class {
    /// The model that does the work.
    pub model: Model,
    /// The type of generation.
    pub kind: GenerationType,
}

impl Class {
    /// The class of jobs of this model and this type.
    #[must_use]
    pub fn new(model: impl Into<Model>, kind: impl Into<GenerationType>) -> Self {
        Self { model: model.into(), kind: kind.into() }
    }

    /// The class of a request, with the defaults of the API for what it leaves out.
    #[must_use]
    pub fn of(request: &CreateGeneration) -> Self {
        Self {
            model: request.model.clone().unwrap_or(Model::Uni1),
            kind: request.type_.clone().unwrap_or(GenerationType::Image),
        }
    }

    /// How long a job takes at most that nobody waits for: the default deadlines of waits.
    #[must_use]
    pub fn longest(&self) -> Duration {
        Duration::from_secs(match self.kind {
            GenerationType::Image | GenerationType::ImageEdit => 120,
            GenerationType::Layering => 240,
            _ => 600,
        })
    }

    /// What has been observed of the service, until its responses say more.
    fn first_guess(&self) -> u32 {
        match (&self.model, &self.kind) {
            (Model::Uni1Max, GenerationType::ImageEdit) => 3,
            _ => 1,
        }
    }
}

/// How many units of the account's limits a job takes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Weight {
    /// Exactly this many, from 1 to 1,000.
    Units(u32),
    /// Learnt from the responses to jobs of this class: 3 at first for `uni-1-max` edits, 1 for all others.
    Learnt(Class),
}

impl From<u32> for Weight {
    fn from(units: u32) -> Self {
        Self::Units(units)
    }
}

impl From<Class> for Weight {
    fn from(class: Class) -> Self {
        Self::Learnt(class)
    }
}

impl From<&CreateGeneration> for Weight {
    fn from(request: &CreateGeneration) -> Self {
        Self::Learnt(Class::of(request))
    }
}

/// What has been learnt so far.
#[derive(Debug, Default)]
pub(super) struct Weights {
    learnt: HashMap<Class, u32>,
    /// A weight seen once. Another program on the account can cause one, but hardly the same twice in a row.
    candidates: HashMap<Class, u32>,
}

impl Weights {
    pub(super) fn units(&self, weight: &Weight) -> u32 {
        match weight {
            Weight::Units(units) => (*units).clamp(1, MOST),
            Weight::Learnt(class) => self.learnt.get(class).copied().unwrap_or_else(|| class.first_guess()),
        }
    }

    /// Takes what the service said about a job in words. Whether a weight changed.
    pub(super) fn said(&mut self, weight: &Weight, units: u32) -> bool {
        let Weight::Learnt(class) = weight else { return false };
        if units == self.units(weight) || !(1..=MOST).contains(&units) {
            return false;
        }
        self.learnt.insert(class.clone(), units);
        true
    }

    /// Takes a fall of the units that remain. Whether a weight changed: it does when the same is seen twice
    /// in a row.
    fn seen(&mut self, class: &Class, units: u32) -> bool {
        let weight = Weight::Learnt(class.clone());
        if self.candidates.insert(class.clone(), units) != Some(units) {
            return false;
        }
        self.said(&weight, units)
    }
}

/// The 201s of a stretch of time in which nothing of ours left the window: between two of them that are
/// neighbours at the service, the units that remain fall by the weight of the later one.
#[derive(Debug, Default)]
pub(super) struct Run {
    remaining: Vec<(u32, Option<Class>)>,
    spoilt: bool,
}

impl Run {
    pub(super) fn add(&mut self, remaining: u32, weight: &Weight) {
        let class = if let Weight::Learnt(class) = weight { Some(class.clone()) } else { None };
        self.remaining.push((remaining, class));
    }

    /// Something happened that changes what remains by an amount that nobody knows.
    pub(super) fn spoil(&mut self) {
        self.spoilt = true;
    }

    /// Ends the run, when no request is in flight. Whether a weight changed. The last 201 begins the next run.
    pub(super) fn evaluate(&mut self, weights: &mut Weights) -> bool {
        let mut run = std::mem::take(self);
        if run.spoilt {
            return false;
        }
        // The order at the service, whatever the order of the responses.
        run.remaining.sort_unstable_by_key(|(remaining, _)| std::cmp::Reverse(*remaining));
        let mut changed = false;
        for pair in run.remaining.windows(2) {
            if let [(before, _), (after, Some(class))] = pair
                && before > after
            {
                changed |= weights.seen(class, before - after);
            }
        }
        self.remaining.extend(run.remaining.pop());
        changed
    }
}

/// The number after `name` in a text: `limit=10 weight units` has 10 after `limit=`.
pub(super) fn number_after(text: &str, name: &str) -> Option<u32> {
    let (_, rest) = text.split_once(name)?;
    let digits = rest.trim_start();
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok().filter(|number| (1..=MOST).contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit() -> Weight {
        Class::new("uni-1", "image_edit").into()
    }

    fn run(weights: &mut Weights, remaining: &[u32]) -> bool {
        let mut run = Run::default();
        for it in remaining {
            run.add(*it, &edit());
        }
        run.evaluate(weights)
    }

    #[test]
    fn edits_with_the_larger_model_weigh_three_at_first_and_all_else_one() {
        let weights = Weights::default();
        assert_eq!(weights.units(&Class::new("uni-1-max", "image_edit").into()), 3);
        for other in [Class::new("uni-1-max", "image"), Class::new("uni-1", "image_edit"), Class::new("new", "new")] {
            assert_eq!(weights.units(&other.into()), 1);
        }
        assert_eq!([7, 0, u32::MAX].map(|it| weights.units(&it.into())), [7, 1, MOST]);
    }

    #[test]
    fn a_request_has_the_class_that_the_service_gives_it() {
        let request: CreateGeneration = serde_json::from_str(r#"{"prompt":"a duck"}"#).expect("a request");
        assert_eq!(Class::of(&request), Class::new("uni-1", "image"));
    }

    #[test]
    fn a_job_that_nobody_waits_for_takes_as_long_as_one_of_its_kind_may() {
        for (kind, seconds) in [("image", 120), ("image_edit", 120), ("layering", 240), ("video", 600), ("new", 600)] {
            assert_eq!(Class::new("uni-1", kind).longest().as_secs(), seconds, "{kind}");
        }
    }

    #[test]
    fn a_fall_that_is_seen_twice_is_the_weight() {
        let mut weights = Weights::default();
        assert!(!run(&mut weights, &[27, 24]));
        assert_eq!(weights.units(&edit()), 1);
        assert!(run(&mut weights, &[24, 21]));
        assert_eq!(weights.units(&edit()), 3);
        assert!(!run(&mut weights, &[24, 21]), "nothing new");
    }

    #[test]
    fn responses_that_overtake_each_other_teach_the_same() {
        let mut weights = Weights::default();
        assert!(run(&mut weights, &[21, 27, 24]));
        assert_eq!(weights.units(&edit()), 3);
    }

    #[test]
    fn a_number_that_comes_twice_is_no_fall() {
        assert!(run(&mut Weights::default(), &[27, 24, 24, 21]));
    }

    #[test]
    fn a_single_odd_fall_teaches_nothing() {
        let mut weights = Weights::default();
        assert!(!run(&mut weights, &[29, 28, 20, 19, 19, 18]), "somebody else submitted a job between two of ours");
        assert_eq!(weights.units(&edit()), 1);
    }

    #[test]
    fn a_spoilt_run_teaches_nothing_and_begins_nothing() {
        let (mut weights, mut run) = (Weights::default(), Run::default());
        for it in [27, 24, 21] {
            run.add(it, &edit());
        }
        run.spoil();
        assert!(!run.evaluate(&mut weights));
        for it in [18, 15] {
            run.add(it, &edit());
        }
        assert!(!run.evaluate(&mut weights), "one fall only: the run before it does not count");
        run.add(12, &edit());
        assert!(run.evaluate(&mut weights), "the last of a run begins the next");
    }

    #[test]
    fn a_number_that_the_caller_gave_is_never_changed() {
        let mut weights = Weights::default();
        assert!(!weights.said(&Weight::Units(1), 3));
        assert_eq!(weights.units(&Weight::Units(1)), 1);
    }

    #[test]
    fn numbers_are_read_from_the_text_where_they_are_there() {
        let text = "Concurrent generation capacity reached (limit=10 weight units; this request needs 3). Wait.";
        assert_eq!((number_after(text, "limit="), number_after(text, "needs ")), (Some(10), Some(3)));
        for text in ["Too many concurrent jobs", "limit=", "limit=x", "limit=0", "limit=99999999999", ""] {
            assert_eq!(number_after(text, "limit="), None, "{text}");
        }
    }
}
