//! A process of the fleet: it holds its locks, listens for its turns, and writes late what could not be written.

use std::{
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use luma_agents_batch::{Error, Event, Key, Result, Ticket, error::LedgerError};
use sqlx::postgres::PgListener;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use uuid::Uuid;

use crate::{
    account::other_service,
    database::Database,
    error::database_error,
    holder::{Identity, Session},
    ledger::PgLedger,
    quota::{CHANNEL, PgQuota},
    record,
};

/// A process of the fleet, known to the others by locks that the database frees when it dies.
///
/// While it has no lock, such as during a restart of the database, it begins nothing. Clones share everything; the
/// locks end with the last one, or with [`stop`](Self::stop).
#[derive(Clone)]
pub struct Worker {
    pub(crate) shared: Arc<Shared>,
    _ends: Arc<DropGuard>,
}

pub(crate) struct Shared {
    pub(crate) database: Database,
    pub(crate) identity: Identity,
    pub(crate) quota: PgQuota,
    pub(crate) session: tokio::sync::Mutex<Option<Session>>,
    pub(crate) is_holding: watch::Sender<bool>,
    /// It may be the turn of a waiter.
    pub(crate) turns: Notify,
    debts: Mutex<Vec<Debt>>,
    has_debts: Notify,
    base_url: String,
    token: CancellationToken,
    tasks: TaskTracker,
}

/// What has to be written as soon as the database can be.
#[derive(Clone, Debug)]
pub(crate) enum Debt {
    /// What became of a try.
    Event(Ticket, Event),
    /// No request went out with this id, whether or not its intent is written.
    NotSent(Key, Uuid),
    /// This one waits no more.
    Left(Uuid),
}

impl Worker {
    /// Starts a process of the fleet under a name that is its own, and the same after a restart: the engine's executor
    /// id.
    ///
    /// Where a process of this name has just died, this waits until the database has noticed, at most the
    /// [grace](crate::Settings::grace).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] if another process has the name, there is no such account, or it is of another base URL:
    /// give that of the client.
    pub async fn start(database: &Database, executor: &str, account: &str, base_url: &str) -> Result<Self> {
        let known: Option<String> = sqlx::query_scalar("SELECT base_url FROM luma.accounts WHERE account = $1")
            .bind(account)
            .fetch_optional(&database.pool)
            .await
            .map_err(database_error)?;
        match known {
            None => return Err(Error::InvalidInput(format!("there is no account {account}; add it first"))),
            Some(known) if known != base_url => return Err(other_service(account, base_url)),
            Some(_) => {}
        }
        let (executor, account) = (executor.to_owned(), account.to_owned());
        let identity = Identity { holder: Uuid::new_v4(), executor, account };
        let session = first_session(database, &identity).await?;
        let listener = listen(database).await.map_err(database_error)?;
        let token = CancellationToken::new();
        let shared = Arc::new(Shared {
            database: database.clone(),
            quota: database.quota(&identity.account),
            identity,
            session: tokio::sync::Mutex::new(Some(session)),
            is_holding: watch::Sender::new(true),
            turns: Notify::new(),
            debts: Mutex::default(),
            has_debts: Notify::new(),
            base_url: base_url.to_owned(),
            token: token.clone(),
            tasks: TaskTracker::new(),
        });
        let (holds, hears) = (Arc::clone(&shared), Arc::clone(&shared));
        shared.tasks.spawn(async move { holds.hold().await });
        shared.tasks.spawn(async move {
            _ = hears.token.run_until_cancelled(hears.hear(listener)).await;
        });
        Ok(Self { shared, _ends: Arc::new(token.drop_guard()) })
    }

    /// This start of the process: what its intents bear.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.shared.identity.holder
    }

    /// The name under which it was started.
    #[must_use]
    pub fn executor(&self) -> &str {
        &self.shared.identity.executor
    }

    /// Whether it has its locks.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        *self.shared.is_holding.borrow()
    }

    /// The limits of its account.
    #[must_use]
    pub fn quota(&self) -> PgQuota {
        self.shared.quota.clone()
    }

    /// The ledger of a batch of its account.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] if there is no such batch, or it is of another account or base URL.
    pub async fn ledger(&self, batch: Uuid) -> Result<PgLedger> {
        let row = self.shared.database.batch(batch).await?;
        let own = &self.shared.identity.account;
        if row.account != *own {
            let message = format!("the batch {batch} is of the account {}, and this process of {own}", row.account);
            return Err(Error::InvalidInput(message));
        }
        if row.run.base_url != self.shared.base_url {
            return Err(other_service(own, &self.shared.base_url));
        }
        Ok(PgLedger { worker: self.clone(), batch })
    }

    /// Ends the process in the eyes of the others, once what could not be written is, or cannot be in time. Drain the
    /// submitters first: an intent that is open now is in doubt.
    pub async fn stop(self) {
        let shared = Arc::clone(&self.shared);
        _ = timeout(shared.database.settings.patience, async {
            while !shared.pay().await {
                sleep(Duration::from_millis(200)).await;
            }
        })
        .await;
        shared.token.cancel();
        shared.tasks.close();
        shared.tasks.wait().await;
    }
}

/// The locks of a new process. The server may still know a session of the one before.
async fn first_session(database: &Database, identity: &Identity) -> Result<Session> {
    let deadline = Instant::now() + database.settings.grace;
    loop {
        let error = match Session::take(database, identity).await {
            Ok(Some(session)) => return Ok(session),
            Ok(None) => LedgerError::new(format!(
                "another process has the name {}; give each process a name of its own",
                identity.executor
            ))
            .into(),
            Err(e) if !e.is_retryable() => return Err(e),
            Err(e) => e,
        };
        if Instant::now() >= deadline {
            return Err(error);
        }
        sleep(Duration::from_millis(200)).await;
    }
}

async fn listen(database: &Database) -> sqlx::Result<PgListener> {
    let mut listener = PgListener::connect_with(&database.pool).await?;
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

impl Shared {
    /// Holds the locks, and takes them again when they are lost.
    async fn hold(&self) {
        let beat = (self.database.settings.grace / 3).max(Duration::from_millis(20));
        loop {
            let paid = tokio::select! {
                () = self.token.cancelled() => break,
                () = self.has_debts.notified() => self.pay().await,
                () = sleep(beat) => { self.beat().await; self.pay().await }
            };
            if !paid {
                sleep(Duration::from_millis(100)).await;
            }
        }
        if let Some(session) = self.session.lock().await.take() {
            _ = timeout(Duration::from_secs(2), session.end(&self.identity)).await;
        }
    }

    async fn beat(&self) {
        let mut session = self.session.lock().await;
        if let Some(held) = session.as_mut()
            && let Err(e) = held.beat(&self.identity).await
        {
            tracing::warn!(error = %e, "this process has lost its lock, and begins nothing until it has it again");
            *session = None;
            // At once, since to take it again may last.
            self.set_holding(false);
        }
        if session.is_none() && !self.token.is_cancelled() {
            *session = Session::take(&self.database, &self.identity).await.unwrap_or_default();
        }
        self.set_holding(session.is_some());
    }

    fn set_holding(&self, is_holding: bool) {
        self.is_holding.send_if_modified(|held| {
            let is_new = *held != is_holding;
            if is_new {
                tracing::info!(is_holding, "lock of the process");
            }
            *held = is_holding;
            is_new
        });
    }

    /// Wakes the waiters. What came while the connection was lost is caught up by waking all.
    async fn hear(&self, mut listener: PgListener) {
        loop {
            match listener.try_recv().await {
                Ok(Some(notification)) if notification.payload() != self.identity.account => {}
                Ok(_) => self.turns.notify_waiters(),
                Err(e) => {
                    tracing::warn!(error = %e, "no notifications from the database for the moment");
                    sleep(Duration::from_millis(500)).await;
                }
            }
        }
    }

    fn debts(&self) -> MutexGuard<'_, Vec<Debt>> {
        self.debts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has this written as soon as the database can be.
    pub(crate) fn owe(&self, debt: Debt) {
        self.debts().push(debt);
        self.has_debts.notify_one();
    }

    /// Writes what is owed. Whether nothing is left.
    async fn pay(&self) -> bool {
        let debts = mem::take(&mut *self.debts());
        let mut left = Vec::new();
        for debt in debts {
            let me = self.identity.holder;
            let paid = match &debt {
                Debt::Event(ticket, event) => record::record(&self.database, Some(me), ticket, event).await,
                Debt::NotSent(key, request_id) => record::record_not_sent(&self.database, me, key, *request_id).await,
                Debt::Left(request_id) => self.quota.leave(&[*request_id]).await,
            };
            match paid {
                Err(e) if e.is_retryable() => left.push(debt),
                Err(e) => tracing::error!(error = %e, ?debt, "what became of a try could not be written"),
                Ok(()) => {}
            }
        }
        let is_done = left.is_empty();
        self.debts().append(&mut left);
        is_done
    }

    /// Until it has its locks, at most as long as calls are repeated.
    pub(crate) async fn held(&self) -> Result<()> {
        let mut is_holding = self.is_holding.subscribe();
        let held = timeout(self.database.settings.patience, is_holding.wait_for(|held| *held)).await;
        if matches!(held, Ok(Ok(_))) {
            return Ok(());
        }
        let message = "this process has lost its lock at the database, so that it begins nothing; see that the database \
             is up and no other process has its name";
        Err(LedgerError::new(message).transient(true).into())
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("identity", &self.shared.identity)
            .field("is_holding", &self.is_holding())
            .finish_non_exhaustive()
    }
}
