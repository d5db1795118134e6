//! A journal becomes rows, once, and then runs no more.

use luma_agents_batch::{
    Begin, Cap, CustomId, Error, Event, Intent, Journal, JournalView, Key, Ledger as _, Run, SavedFile, Sha256, State,
    Usd, error::JournalProblem,
};
use luma_agents_postgres::Account;
use uuid::Uuid;

use crate::support::{ACCOUNT, BASE_URL, bed, bed_with, settings};

fn intent() -> Intent {
    let mut intent = Intent::new(Sha256::of("the request"), "uni-1", "image");
    intent.usd = Some(Usd::from_ten_thousandths(404));
    intent
}

/// A journal with a line for each end there is.
async fn journal(folder: &std::path::Path) -> (Journal, Uuid) {
    let journal = Journal::open(folder.join("shop.journal.jsonl")).await.unwrap();
    let batch = journal.start(&Run::new(BASE_URL)).await.unwrap();
    let id = Uuid::new_v4();
    let file = SavedFile::new("out/saved.png", 3, Sha256::of("png"));
    let ends = [
        ("open", vec![]),
        ("unknown", vec![Event::Unknown { fault: "timeout".to_owned() }]),
        ("accepted", vec![Event::Accepted { id }]),
        ("rejected", vec![Event::Rejected { status: 400, kind: "invalid_request".to_owned() }]),
        ("failed", vec![Event::Accepted { id }, Event::Failed { id, code: Some("generation_failed".to_owned()) }]),
        ("saved", vec![Event::Accepted { id }, Event::Completed { id }, Event::Saved { id, file, more: vec![] }]),
    ];
    for (name, events) in ends {
        let key = Key::new(batch, CustomId::new(name).unwrap());
        let Begin::Fresh(ticket) = journal.begin(&key, &intent()).await.unwrap() else { panic!("{name} is new") };
        for event in events {
            journal.record(&ticket, &event).await.unwrap();
        }
    }
    // A key with two tries, of which the first has no job.
    let key = Key::new(batch, CustomId::new("second").unwrap());
    let Begin::Fresh(ticket) = journal.begin(&key, &intent()).await.unwrap() else { panic!("it is new") };
    journal.record(&ticket, &Event::NotSent { fault: "no connection".to_owned() }).await.unwrap();
    let mut next = intent();
    next.after = Some(1);
    let Begin::Fresh(ticket) = journal.begin(&key, &next).await.unwrap() else { panic!("it is the next try") };
    journal.record(&ticket, &Event::Accepted { id }).await.unwrap();
    (journal, batch)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_becomes_rows_that_say_the_same() {
    let (bed, folder) = (bed().await, tempfile::tempdir().unwrap());
    let (journal, batch) = journal(folder.path()).await;
    let imported = bed.database.import(&journal, ACCOUNT, Cap::NONE).await.unwrap();
    assert_eq!((imported.batch, imported.lines, imported.tries), (batch, 7, 8));
    let view = bed.database.view(batch).await.unwrap();
    for id in journal.ids().unwrap() {
        let (there, here) = (view.get(&id).unwrap(), journal.line(&id).unwrap());
        assert_eq!(there.last, here.last, "{id}");
        let should =
            if here.attempt.state == State::InFlight { State::InDoubt { fault: None } } else { here.attempt.state };
        assert_eq!(there.attempt.state, should, "{id}");
        assert_eq!(there.attempt.request_id, here.attempt.request_id, "{id}");
        assert_eq!(there.attempt.fingerprint, here.attempt.fingerprint, "{id}");
    }
    assert_eq!(view.spent(), journal.spent().await.unwrap());
    assert_eq!(view.doubts().len(), 2);
    // Two accepted jobs hold places, what is in doubt too.
    assert_eq!(bed.database.quota(ACCOUNT).status().await.unwrap().in_flight, 4);

    let ledger = bed.worker("one").await.ledger(batch).await.unwrap();
    let key = |name: &str| Key::new(batch, CustomId::new(name).unwrap());
    assert!(matches!(ledger.begin(&key("open"), &intent()).await.unwrap(), Begin::InDoubt(_)));
    assert!(matches!(ledger.begin(&key("saved"), &intent()).await.unwrap(), Begin::Accepted(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_may_be_repeated_and_the_journal_runs_no_more() {
    let (bed, folder) = (bed().await, tempfile::tempdir().unwrap());
    let (journal, batch) = journal(folder.path()).await;
    let path = journal.path().to_owned();
    // A crash between the last line of the journal and the commit.
    journal.move_to(bed.database.label()).await.unwrap();
    drop(journal);
    let journal = Journal::existing(&path).await.unwrap();
    assert_eq!(bed.database.import(&journal, ACCOUNT, Cap::NONE).await.unwrap().tries, 8);
    assert_eq!(bed.database.import(&journal, ACCOUNT, Cap::NONE).await.unwrap().tries, 0);
    assert_eq!(bed.number("SELECT count(*) FROM luma.tries").await, 8);

    let key = Key::new(batch, CustomId::new("new").unwrap());
    let begun = journal.begin(&key, &intent()).await.unwrap_err();
    assert!(begun.to_string().contains(&bed.database.label()), "{begun}");
    assert!(journal.start(&Run::new(BASE_URL)).await.is_err());
    assert_eq!(JournalView::read(&path).await.unwrap().moved_to(), Some(&*bed.database.label()));

    let elsewhere = bed_with(settings(), Account::new(ACCOUNT, BASE_URL)).await;
    let twice = elsewhere.database.import(&journal, ACCOUNT, Cap::NONE).await.unwrap_err();
    let is_moved = |e: &Error| matches!(e, Error::Journal(e) if matches!(e.problem, JournalProblem::Moved { .. }));
    assert!(is_moved(&twice), "{twice}");
    assert_eq!(elsewhere.number("SELECT count(*) FROM luma.tries").await, 0);
}
