//! The rules of the fence: every event in every state, what is spent, and what a repair puts in doubt.

use chrono::DateTime;

use super::{book::*, *};
use crate::{CustomId, Error, error::CapReached};

const JOB: Uuid = Uuid::from_u128(7);
const OTHER: Uuid = Uuid::from_u128(8);

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
}

fn usd(text: &str) -> Usd {
    text.parse().unwrap()
}

fn custom_id(id: &str) -> CustomId {
    CustomId::new(id).unwrap()
}

fn key(id: &str) -> Key {
    Key::new(Uuid::nil(), custom_id(id))
}

fn intent() -> Intent {
    Intent { usd: Some(usd("0.0404")), ..Intent::new(Sha256::of("a"), "uni-1", "image") }
}

fn file(path: &str) -> SavedFile {
    SavedFile::new(path, 3, Sha256::of(path))
}

fn saved(id: Uuid) -> State {
    State::Saved { id, file: file("a.png"), more: Vec::new() }
}

fn failed(code: &str) -> State {
    State::Failed { id: JOB, code: Some(code.to_owned()) }
}

fn rejected() -> NoJob {
    NoJob::Rejected { status: 400, kind: "invalid_request".to_owned() }
}

/// Each state by its letter.
fn states() -> Vec<(char, State)> {
    vec![
        ('i', State::InFlight),
        ('d', State::InDoubt { fault: None }),
        ('u', State::InDoubt { fault: Some("reset".to_owned()) }),
        ('n', State::NoJob(NoJob::NotSent)),
        ('r', State::NoJob(rejected())),
        ('s', State::NoJob(NoJob::Settled)),
        ('a', State::Accepted { id: JOB }),
        ('c', State::Completed { id: JOB }),
        ('f', failed("invalid_request")),
        ('S', saved(JOB)),
        ('R', State::Resent),
    ]
}

/// Each event with what it makes of the states above: a letter, `=` nothing, `!` a contradiction.
fn events() -> Vec<(Event, &'static str)> {
    let fault = || "reset".to_owned();
    let NoJob::Rejected { status, kind } = rejected() else { unreachable!() };
    let saved = |id, path| Event::Saved { id, file: file(path), more: Vec::new() };
    let failed = |id| Event::Failed { id, code: Some("invalid_request".to_owned()) };
    vec![
        (Event::NotSent { fault: fault() }, "nnn=!n!!!!n"),
        (Event::Rejected { status, kind }, "rrr!=r!!!!r"),
        (Event::Accepted { id: JOB }, "aaaaaa====a"),
        (Event::Accepted { id: OTHER }, "AAAAAA!!!!A"),
        (Event::Unknown { fault: fault() }, "uu========="),
        (Event::Completed { id: JOB }, "!!!!!!c=!=!"),
        (Event::Completed { id: OTHER }, "!!!!!!!!!!!"),
        (failed(JOB), "!!!!!!ff=!!"),
        (failed(OTHER), "!!!!!!!!!!!"),
        (saved(JOB, "a.png"), "!!!!!!!S!=!"),
        (saved(JOB, "b.png"), "!!!!!!!B!B!"),
        (saved(OTHER, "a.png"), "!!!!!!!!!!!"),
        (Event::Found { id: JOB }, "aaaaaa====a"),
        (Event::Found { id: OTHER }, "AAAAAA!!!!A"),
        (Event::None, "!ss!!=!!!!!"),
        (Event::Resend, "!RR!!!!!!!="),
    ]
}

fn state(letter: char) -> State {
    match letter {
        'A' => State::Accepted { id: OTHER },
        'B' => State::Saved { id: JOB, file: file("b.png"), more: Vec::new() },
        _ => states().into_iter().find(|(it, _)| *it == letter).unwrap().1,
    }
}

fn book(state: State) -> Book {
    let mut book = Book::default();
    book.open(&custom_id("a"), 1, &intent(), at(0), state);
    book
}

fn last(book: &Book) -> Attempt {
    book.last(&key("a")).unwrap().attempt
}

/// What one job costs in a state: certainly, possibly, and whether there may be one.
fn cost(state: &State) -> Spent {
    let price = usd("0.0404");
    let (low, high, jobs) = match state {
        State::NoJob(_) => (Usd::default(), Usd::default(), 0),
        State::InFlight | State::InDoubt { .. } | State::Resent => (Usd::default(), price, 1),
        _ => (price, price, 1),
    };
    Spent { low, high, jobs, unpriced: 0 }
}

#[test]
fn a_book_of_loaded_tries_doubts_the_others_until_somebody_has_decided() {
    let accepted = State::Accepted { id: JOB };
    let tries = vec![last(&book(accepted.clone()))];
    let mut book = Book::new(Spent::default());
    book.load(custom_id("a"), tries);
    assert_eq!((last(&book).state, book.spent()), (accepted, Spent::default()));
    assert_eq!((book.suspected_since(), book.suspected(&key("b"))), (None, None));
    book.doubt_all(at(5));
    assert_eq!(book.suspected_since(), Some(at(5)));
    assert_eq!(book.suspected(&key("b")).map(|doubt| doubt.since), Some(at(5)));
    book.lift(custom_id("b"));
    assert!(book.suspected(&key("b")).is_none() && book.suspected(&key("c")).is_some());
}

#[test]
fn every_event_in_every_state_has_one_meaning() {
    for (event, row) in events() {
        for ((letter, before), becomes) in states().into_iter().zip(row.chars()) {
            let context = format!("{letter}: {event:?}");
            let mut book = book(before.clone());
            let ticket = Ticket::new(key("a"), 1);
            let after = match becomes {
                '=' | '!' => before.clone(),
                letter => state(letter),
            };
            match (book.check(&ticket, &event), becomes) {
                (Err(error), '!') => {
                    let text = error.to_string();
                    assert!(text.contains("try 1, cannot become") && text.contains(&format!("{before:?}")), "{text}");
                }
                (changes, _) => assert_eq!(changes.ok(), Some(becomes != '='), "{context}"),
            }
            book.apply(&custom_id("a"), 1, &event, at(9));
            assert_eq!((&last(&book).state, book.spent()), (&after, cost(&after)), "{context}");
            assert_eq!(last(&book).at, if "=!".contains(becomes) { at(0) } else { at(9) }, "{context}");
        }
    }
}

#[test]
fn after_a_repair_a_decision_is_possible_wherever_nothing_lives() {
    for (event, row) in events() {
        for ((letter, before), becomes) in states().into_iter().zip(row.chars()) {
            let mut book = book(before);
            book.suspect(1, at(5));
            let lifts = matches!(event, Event::None | Event::Resend) && "nrsfR".contains(letter);
            let changes = book.check(&Ticket::new(key("a"), 1), &event).ok();
            let expected = if lifts { Some(true) } else { (becomes != '!').then_some(becomes != '=') };
            assert_eq!(changes, expected, "{letter}: {event:?}");
            assert!(book.suspected(&key("a")).is_some());
            book.apply(&custom_id("a"), 1, &event, at(9));
            let decided = matches!(event, Event::None | Event::Resend | Event::Found { .. });
            assert_eq!(book.suspected(&key("a")).is_none(), decided, "{letter}: {event:?}");
        }
    }
}

#[test]
fn after_a_repair_a_key_without_a_line_waits_for_a_decision() {
    let (none, done) = (Ticket::new(key("a"), 0), Event::Completed { id: JOB });
    let mut book = Book::default();
    assert!(book.check(&none, &Event::None).unwrap_err().to_string().contains("has no try 0"), "nothing was lost");
    book.suspect(2, at(5));
    book.suspect(1, at(6));
    assert_eq!(book.lost(), 3);
    assert!(book.check(&none, &done).is_err());
    let Some(Begin::InDoubt(doubt)) = book.decide(&key("a"), &intent(), &Cap::NONE).unwrap().reply() else { panic!() };
    assert_eq!((doubt.attempt, doubt.request_id, doubt.since), (0, None, at(6)));
    assert_eq!(book.check(&none, &Event::None).ok(), Some(true));
    book.apply(&custom_id("a"), 0, &Event::None, at(9));
    assert_eq!(book.decide(&key("a"), &intent(), &Cap::NONE).unwrap(), Decision::Open(1));
    assert!(book.last(&key("a")).is_none(), "a decision is no try");
    assert!(book.suspected(&key("b")).is_some(), "it is about one key");
}

#[test]
fn each_lost_line_may_have_cost_as_much_as_the_dearest() {
    let mut book = book(State::Accepted { id: JOB });
    book.open(&custom_id("b"), 1, &Intent { usd: Some(usd("0.0100")), ..intent() }, at(0), State::InFlight);
    book.open(&custom_id("c"), 1, &Intent { usd: None, ..intent() }, at(0), State::InFlight);
    let spent = Spent { low: usd("0.0404"), high: usd("0.0504"), jobs: 3, unpriced: 1 };
    assert_eq!(book.spent(), spent);
    book.suspect(2, at(5));
    assert_eq!(book.spent(), Spent { high: usd("0.1312"), jobs: 5, ..spent });
    book.apply(&custom_id("c"), 1, &Event::Rejected { status: 400, kind: String::new() }, at(6));
    assert_eq!(book.spent(), Spent { high: usd("0.1312"), jobs: 4, unpriced: 0, ..spent });
}

#[test]
fn a_refunded_failure_costs_nothing_and_is_still_a_job() {
    for (code, price) in [("content_moderated", Usd::default()), ("invalid_request", usd("0.0404"))] {
        let spent = book(failed(code)).spent();
        assert_eq!(spent, Spent { low: price, high: price, jobs: 1, unpriced: 0 }, "{code}");
    }
}

#[test]
fn a_request_goes_out_only_where_no_job_can_be() {
    let first = intent();
    let again = |after| Intent { after, request_id: Uuid::new_v4(), ..first.clone() };
    let open = |state| {
        let mut book = Book::default();
        book.open(&custom_id("a"), 1, &first, at(0), state);
        book
    };
    let decide = |state, intent: &Intent| open(state).decide(&key("a"), intent, &Cap::NONE);
    assert_eq!(Book::default().decide(&key("a"), &first, &Cap::NONE).unwrap(), Decision::Open(1));
    let ticket = Ticket::new(key("a"), 1);
    assert_eq!(decide(State::InFlight, &first).unwrap(), Decision::Reply(Begin::Fresh(ticket)));
    assert_eq!(decide(State::InFlight, &again(None)).unwrap(), Decision::Reply(Begin::InFlight));
    for lives in ['a', 'c', 'S'] {
        for after in [None, Some(1)] {
            let decision = decide(state(lives), &again(after)).unwrap();
            assert_eq!(decision, Decision::Reply(Begin::Accepted(JOB)), "{lives}");
        }
    }
    // Also with the request id of the intent: only an open one gives its ticket again.
    assert!(matches!(decide(state('u'), &first).unwrap(), Decision::Reply(Begin::InDoubt(_))));
    let Decision::Reply(Begin::InDoubt(doubt)) = decide(state('u'), &again(Some(1))).unwrap() else { panic!() };
    assert_eq!((doubt.attempt, doubt.request_id), (1, Some(first.request_id)));
    assert_eq!((doubt.fingerprint, doubt.since), (Some(first.fingerprint), at(0)));
    assert_eq!(doubt.fault.as_deref(), Some("reset"));
    for (letter, reason) in [('n', NoJob::NotSent), ('r', rejected()), ('s', NoJob::Settled), ('R', NoJob::Settled)] {
        let decision = decide(state(letter), &again(None)).unwrap();
        assert_eq!(decision, Decision::Reply(Begin::Rejected { after: 1, reason }), "{letter}");
    }
    let code = Some("invalid_request".to_owned());
    let decision = decide(state('f'), &again(None)).unwrap();
    assert_eq!(decision, Decision::Reply(Begin::Failed { after: 1, id: JOB, code }));
    for ended in ['n', 'r', 's', 'f', 'R'] {
        assert_eq!(decide(state(ended), &again(Some(1))).unwrap(), Decision::Open(2), "{ended}");
        for wrong in [0, 2] {
            let error = decide(state(ended), &again(Some(wrong))).unwrap_err();
            assert!(matches!(error, Error::Outdated(_)), "{ended}: {error}");
        }
    }
    assert!(matches!(Book::default().decide(&key("a"), &again(Some(1)), &Cap::NONE), Err(Error::Outdated(_))));
    let changed = Intent { fingerprint: Sha256::of("b"), ..again(None) };
    for (letter, _) in states() {
        let is_changed = matches!(decide(state(letter), &changed), Err(Error::ChangedRequest(_)));
        assert_eq!(is_changed, "iduacS".contains(letter), "{letter}");
    }
}

#[test]
fn a_cap_is_never_passed_and_may_be_reached() {
    let spent = Spent { low: Usd::default(), high: usd("1"), jobs: 3, unpriced: 0 };
    let check = |cap: Cap, price: Option<&str>| cap.check(&spent, price.map(usd)).map_err(|error| error.to_string());
    assert_eq!(check(Cap::NONE, None), Ok(()));
    assert_eq!(check(Cap::NONE.usd(usd("1.5")), Some("0.5")), Ok(()));
    assert!(check(Cap::NONE.usd(usd("1.5")), Some("0.5001")).is_err());
    assert!(check(Cap::NONE.usd(usd("1.5")), None).is_err(), "an unknown price fits into no cap");
    assert_eq!(check(Cap::NONE.jobs(4), None), Ok(()));
    assert!(check(Cap::NONE.jobs(3), Some("0")).is_err());
    let both = Cap::NONE.jobs(9).usd(usd("2"));
    assert_eq!((both.jobs, both.usd), (Some(9), Some(usd("2"))));
    let error = both.check(&spent, Some(usd("3"))).unwrap_err();
    assert!(matches!(&error, Error::Cap(it) if matches!(**it, CapReached::Usd { .. })), "{error}");
    let decision = book(State::NoJob(NoJob::NotSent)).decide(&key("b"), &intent(), &Cap::NONE.jobs(0));
    assert!(matches!(decision, Err(Error::Cap(_))));
}

#[test]
fn an_intent_that_comes_after_its_end_keeps_the_end() {
    let mut book = Book::default();
    book.apply(&custom_id("a"), 1, &Event::Accepted { id: JOB }, at(3));
    assert_eq!((last(&book).request_id, last(&book).fingerprint), (None, None));
    assert_eq!(book.spent(), Spent { jobs: 1, unpriced: 1, ..Spent::default() });
    book.open(&custom_id("a"), 1, &intent(), at(0), State::InFlight);
    assert_eq!((last(&book).state, last(&book).usd), (State::Accepted { id: JOB }, Some(usd("0.0404"))));
    assert_eq!(book.spent(), cost(&State::Accepted { id: JOB }));
    // A line that stands twice changes nothing.
    book.open(&custom_id("a"), 1, &Intent { usd: Some(usd("9")), ..intent() }, at(0), State::InFlight);
    assert_eq!(book.spent(), cost(&State::Accepted { id: JOB }));
}

#[test]
fn the_try_that_counts_is_the_one_that_got_furthest() {
    let tries = |letters: &str| {
        let mut book = Book::default();
        for (number, letter) in (1..).zip(letters.chars()) {
            book.open(&custom_id("a"), number, &intent(), at(i64::from(number)), state(letter));
        }
        let last = book.last(&key("a")).unwrap();
        (last.last, last.attempt.number, last.others.iter().map(|it| it.number).collect::<Vec<_>>())
    };
    assert_eq!(tries("r"), (1, 1, vec![]));
    assert_eq!(tries("rf"), (2, 2, vec![]));
    assert_eq!(tries("ca"), (2, 1, vec![2]));
    assert_eq!(tries("aSc"), (3, 2, vec![1, 3]));
    assert_eq!(tries("ra"), (2, 2, vec![]), "what has no job is not among the others");
    assert_eq!(tries("Aar"), (3, 1, vec![2]), "of equals the first");
    assert_eq!(tries("ud"), (2, 2, vec![1]));
}

#[test]
fn a_key_is_taken_out_and_put_back_and_stays_paid() {
    for (letter, it) in states() {
        let book = book(it);
        assert_eq!(book.only_saved(&custom_id("a")).is_some(), letter == 'S', "{letter}");
        assert_eq!(book.find_job(JOB).is_some(), "acfS".contains(letter), "{letter}");
        assert_eq!(book.doubts(Uuid::nil()).len(), usize::from("du".contains(letter)), "{letter}");
    }
    let mut twice = book(State::NoJob(NoJob::NotSent));
    twice.open(&custom_id("a"), 2, &intent(), at(0), saved(JOB));
    assert!(twice.only_saved(&custom_id("a")).is_none());

    let mut book = book(saved(JOB));
    let attempt = book.only_saved(&custom_id("a")).unwrap().clone();
    book.forget(&custom_id("a"));
    assert!(book.last(&key("a")).is_none() && book.ids().next().is_none());
    assert_eq!(book.spent(), cost(&saved(JOB)));
    book.restore(&custom_id("a"), attempt.clone());
    assert_eq!((last(&book), book.spent()), (attempt, cost(&saved(JOB))));
    assert_eq!(book.ids().collect::<Vec<_>>(), [&custom_id("a")]);
    assert!(book.find_job(OTHER).is_none());
}

#[test]
fn doubts_are_in_the_order_of_the_ids_and_after_a_repair_they_are_all() {
    let mut book = Book::default();
    for (id, letter) in [("c", 'd'), ("a", 'u'), ("b", 'r'), ("e", 'a'), ("d", 'i')] {
        book.open(&custom_id(id), 1, &intent(), at(0), state(letter));
    }
    let ids = |book: &Book| -> Vec<_> {
        book.doubts(Uuid::nil()).into_iter().map(|it| it.key.custom_id.to_string()).collect()
    };
    assert_eq!(ids(&book), ["a", "c"]);
    book.suspect(1, at(5));
    assert_eq!(ids(&book), ["a", "b", "c"]);
}

#[test]
fn a_doubt_says_what_to_do() {
    let book = book(State::InDoubt { fault: None });
    let mut doubt = book.doubts(Uuid::nil()).remove(0);
    let (key, request) = (&doubt.key, doubt.request_id.unwrap());
    let begin = format!("{key}: a job may exist (request {request}, 2027-01-15 08:00:00 UTC); ");
    let advice = "ask support with the request id, then call `Doubts::found` (or `none`), or run `luma batch doubt FILE \
                  --found a=ID` (or `--none a`)";
    assert_eq!(doubt.to_string(), format!("{begin}{advice}"));
    doubt.job = Some(JOB);
    let advice = format!(
        "its sidecar names the job {JOB}: call `Doubts::found`, or run `luma batch doubt FILE --found a={JOB}`"
    );
    assert_eq!(doubt.to_string(), format!("{begin}{advice}"));
    doubt.request_id = None;
    assert!(doubt.to_string().contains("(its line in the journal may be lost)"));
}

#[tokio::test]
async fn what_is_known_of_a_key_is_seen_without_writing() {
    let ledger = MemoryLedger::new(Uuid::nil(), Cap::NONE);
    assert_eq!(ledger.peek(&key("a"), &intent()).await.unwrap(), None);
    let Begin::Fresh(ticket) = ledger.begin(&key("a"), &intent()).await.unwrap() else { panic!() };
    assert_eq!(ledger.peek(&key("a"), &intent()).await.unwrap(), Some(Begin::InFlight));
    ledger.record(&ticket, &Event::Accepted { id: JOB }).await.unwrap();
    assert_eq!(ledger.peek(&key("a"), &intent()).await.unwrap(), Some(Begin::Accepted(JOB)));
    assert_eq!(ledger.spent().await.unwrap().jobs, 1);
}
