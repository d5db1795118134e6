//! What is done about a try of which nobody knows whether there is a job.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use luma_agents::{Client, types::Generation};
use uuid::Uuid;

use crate::{
    error::{Error, Result},
    journal::Journal,
    key::{CustomId, Key},
    ledger::{Attempt, Doubt, Event, Last, Ledger as _, Ticket},
};

/// How far the service's clock and this one may differ.
const SKEW: TimeDelta = TimeDelta::seconds(60);

/// Where doubts stand and decisions on them are recorded: a journal, or another ledger.
pub trait DoubtLedger: Clone + Send + Sync {
    /// Every try in doubt, in the order of the ids.
    ///
    /// # Errors
    ///
    /// Where nothing can be read, as in all of these.
    fn doubts(&self) -> impl Future<Output = Result<Vec<Doubt>>> + Send;

    /// The doubt about a line that the ledger does not name, after a repair or a restore.
    fn unnamed_doubt(&self, id: &CustomId) -> impl Future<Output = Result<Option<Doubt>>> + Send;

    /// What is known of a line.
    fn find(&self, key: &Key) -> impl Future<Output = Result<Option<Last>>> + Send;

    /// The line under which a job stands.
    fn find_job(&self, id: Uuid) -> impl Future<Output = Result<Option<CustomId>>> + Send;

    /// The time by which the ledger goes.
    fn now(&self) -> impl Future<Output = Result<DateTime<Utc>>> + Send;

    /// Records a decision.
    fn decide(&self, ticket: &Ticket, event: &Event) -> impl Future<Output = Result<()>> + Send;
}

impl DoubtLedger for Journal {
    async fn doubts(&self) -> Result<Vec<Doubt>> {
        Ok(Self::doubts(self))
    }

    async fn unnamed_doubt(&self, id: &CustomId) -> Result<Option<Doubt>> {
        Ok(Self::unnamed_doubt(self, id))
    }

    async fn find(&self, key: &Key) -> Result<Option<Last>> {
        self.get(key).await
    }

    async fn find_job(&self, id: Uuid) -> Result<Option<CustomId>> {
        Self::find_job(self, id)
    }

    async fn now(&self) -> Result<DateTime<Utc>> {
        Ok(Self::now(self))
    }

    async fn decide(&self, ticket: &Ticket, event: &Event) -> Result<()> {
        self.record(ticket, event).await
    }
}

/// Decides on the doubts of a journal, or of another ledger. Nothing is sent here: the next run acts on it.
///
/// Give the request ids of [`list`](Self::list) to support. What they say has a place: [`found`](Self::found),
/// [`none`](Self::none). [`resend`](Self::resend) takes the risk of paying twice.
#[derive(Clone, Debug)]
pub struct Doubts<L = Journal> {
    ledger: L,
    submit_timeout: TimeDelta,
    names: Vec<CustomId>,
}

impl<L: DoubtLedger> Doubts<L> {
    /// Those of this ledger.
    #[must_use]
    pub fn of(ledger: &L) -> Self {
        Self { ledger: ledger.clone(), submit_timeout: TimeDelta::seconds(180), names: Vec::new() }
    }

    /// The limit of one submission, if it is not 180 s.
    #[must_use]
    pub fn submit_timeout(self, limit: Duration) -> Self {
        Self { submit_timeout: TimeDelta::from_std(limit).unwrap_or(TimeDelta::MAX), ..self }
    }

    /// The lines of the input. After a repair that has lost lines, those that the journal does not name are in doubt
    /// too.
    #[must_use]
    pub fn lines(self, names: impl IntoIterator<Item = CustomId>) -> Self {
        Self { names: names.into_iter().collect(), ..self }
    }

    /// Every doubt.
    ///
    /// # Errors
    ///
    /// Where the ledger cannot be read.
    pub async fn list(&self) -> Result<Vec<Doubt>> {
        let mut doubts = self.ledger.doubts().await?;
        for name in &self.names {
            doubts.extend(self.ledger.unnamed_doubt(name).await?);
        }
        Ok(doubts)
    }

    /// Support has found the job: the next run waits for it and saves it.
    ///
    /// # Errors
    ///
    /// [`Error::Doubt`] if the key is not in doubt, or the job cannot be its: it stands in the journal already, is of
    /// another type or model, or was created at another time. [`Error::Api`] if it cannot be got.
    pub async fn found(&self, client: &Client, key: &Key, id: Uuid) -> Result<()> {
        let doubt = self.only(key).await?;
        if let Some(other) = self.ledger.find_job(id).await? {
            return Err(Error::Doubt(format!("{id} stands in the ledger already, under {other}")));
        }
        let generation = client.generations().get(id).await?;
        let attempt = self.attempt(&doubt).await?;
        if let Some(attempt) = &attempt {
            self.fits(attempt, &generation)?;
        }
        // Where the intent is lost, so is its number.
        let number = if attempt.is_some() { doubt.attempt } else { doubt.attempt.saturating_add(1) };
        self.ledger.decide(&Ticket::new(key.clone(), number), &Event::Found { id }).await
    }

    /// There is no job: it may be sent again.
    ///
    /// # Errors
    ///
    /// [`Error::Doubt`] if the key is not in doubt, or so young that its request may still be under way.
    pub async fn none(&self, key: &Key) -> Result<()> {
        let doubt = self.only(key).await?;
        let now = self.ledger.now().await?;
        self.is_over(&doubt, now)?;
        self.ledger.decide(&Ticket::new(key.clone(), doubt.attempt), &Event::None).await
    }

    /// Sends all of them again, at the risk that jobs exist and are paid for twice. `number` is how many there are, so
    /// that nobody does this without having read the list.
    ///
    /// # Errors
    ///
    /// [`Error::Doubt`] if there are more or fewer, or one is so young that its request may still be under way.
    pub async fn resend(&self, number: usize) -> Result<()> {
        let doubts = self.list().await?;
        if doubts.len() != number {
            return Err(Error::Doubt(format!(
                "{} are in doubt, not {number}; read the list of `Doubts::list` or `luma batch doubt FILE` first",
                doubts.len()
            )));
        }
        let now = self.ledger.now().await?;
        doubts.iter().try_for_each(|doubt| self.is_over(doubt, now))?;
        for doubt in doubts {
            self.ledger.decide(&Ticket::new(doubt.key, doubt.attempt), &Event::Resend).await?;
        }
        Ok(())
    }

    async fn only(&self, key: &Key) -> Result<Doubt> {
        let mut doubts = self.ledger.doubts().await?;
        doubts.extend(self.ledger.unnamed_doubt(&key.custom_id).await?);
        let mut doubts = doubts.into_iter().filter(|doubt| doubt.key == *key);
        doubts.next().ok_or_else(|| {
            let lists = "`Doubts::list` and `luma batch doubt FILE` list what is";
            Error::Doubt(format!("{key} is not in doubt; {lists}"))
        })
    }

    /// The try that is in doubt, unless its intent is lost.
    async fn attempt(&self, doubt: &Doubt) -> Result<Option<Attempt>> {
        if doubt.request_id.is_none() {
            return Ok(None);
        }
        let last = self.ledger.find(&doubt.key).await?;
        let mut tries = last.into_iter().flat_map(|last| std::iter::once(last.attempt).chain(last.others));
        Ok(tries.find(|attempt| attempt.number == doubt.attempt))
    }

    fn fits(&self, attempt: &Attempt, generation: &Generation) -> Result<()> {
        let (model, kind) = (generation.model.as_str(), generation.type_.as_str());
        if (model, kind) != (&attempt.model, &attempt.kind) {
            return Err(Error::Doubt(format!(
                "{} is of type {kind} by {model}, and the request was of type {} by {}",
                generation.id, attempt.kind, attempt.model
            )));
        }
        let created = DateTime::parse_from_rfc3339(&generation.created_at).map(|it| it.with_timezone(&Utc));
        let latest = attempt.begun + SKEW + self.submit_timeout;
        if created.is_ok_and(|created| created >= attempt.begun - SKEW && created <= latest) {
            return Ok(());
        }
        Err(Error::Doubt(format!(
            "{} was created at {}, and the request was sent at {}: it is another job",
            generation.id,
            generation.created_at,
            attempt.begun.format("%Y-%m-%dT%H:%M:%SZ")
        )))
    }

    /// No request of it is under way any more.
    fn is_over(&self, doubt: &Doubt, now: DateTime<Utc>) -> Result<()> {
        let over = doubt.since + self.submit_timeout + TimeDelta::seconds(120);
        if now >= over {
            return Ok(());
        }
        let (key, over) = (&doubt.key, over.format("%H:%M:%S UTC"));
        Err(Error::Doubt(format!("{key} may still be under way; decide after {over}")))
    }
}
