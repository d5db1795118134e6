//! What a journal keeps through crashes, damage, wrong clocks and full disks.

use std::{collections::HashSet, path::Path, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use uuid::Uuid;

use super::{
    contents::{Run, Uploaded},
    recording::{Break, Op, Recording, after_crash},
    repair::repair_file,
    writer::{Clock, Writer},
};
use crate::{
    CustomId, Error, Key, Sha256,
    error::JournalProblem,
    ledger::{Begin, Cap, Event, Intent, SavedFile, State, Ticket},
};

fn clock() -> Clock {
    let start: DateTime<Utc> = "2026-11-25T03:31:33.120Z".parse().unwrap();
    Arc::new(move || start)
}

/// Opened again, it is a day later, so that settled keys are read from the file.
fn open(medium: &Recording) -> Result<Writer, Error> {
    let days = i64::from(!medium.content().is_empty());
    let later: Clock = Arc::new(move || clock()() + TimeDelta::days(days));
    Writer::open(Path::new("a.journal.jsonl"), Box::new(medium.clone()), later)
}

fn intent(id: &str, after: Option<u32>) -> Intent {
    let mut intent = Intent::new(Sha256::of(id), "uni-1", "image");
    intent.after = after;
    intent.usd = Some("0.0404".parse().unwrap());
    intent
}

fn key(writer: &Writer, id: &str) -> Key {
    writer.key(&CustomId::new(id).unwrap()).unwrap()
}

fn fresh(writer: &mut Writer, id: &str, after: Option<u32>) -> Ticket {
    let key = key(writer, id);
    match writer.begin(&key, &intent(id, after)).unwrap() {
        Begin::Fresh(ticket) => ticket,
        other => panic!("{id}: {other:?}"),
    }
}

fn job(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

/// The ids whose request was sent, and may have made a job that is not known to have failed.
const PAID: [&str; 6] = ["accepted", "completed", "saved", "unknown", "open", "twice"];
/// The ids whose request was sent and made no job.
const UNPAID: [&str; 3] = ["rejected", "not-sent", "failed"];

/// Every kind of line, in two runs, with several lines between syncs.
fn history(medium: &Recording) {
    let mut writer = open(medium).unwrap();
    let run = Run::new("https://agents.lumalabs.ai/v1").input("a.jsonl", Sha256::of("input"), 9);
    writer.start(job(99), &run).unwrap();
    let send = |writer: &mut Writer, id: &str, after| {
        let ticket = fresh(writer, id, after);
        medium.mark(id);
        ticket
    };
    let rejected = send(&mut writer, "rejected", None);
    let not_sent = send(&mut writer, "not-sent", None);
    let unknown = send(&mut writer, "unknown", None);
    writer.record(&rejected, &Event::Rejected { status: 400, kind: "invalid_request".into() }).unwrap();
    writer.record(&not_sent, &Event::NotSent { fault: "no connection could be made".into() }).unwrap();
    writer.uploaded(&Uploaded::new(Sha256::of("medium"), 6, job(100), None)).unwrap();
    writer.record(&unknown, &Event::Unknown { fault: "connection reset".into() }).unwrap();
    for (number, id) in [(1, "accepted"), (2, "completed"), (3, "saved"), (4, "failed")] {
        let ticket = send(&mut writer, id, None);
        let id = job(number);
        writer.record(&ticket, &Event::Accepted { id }).unwrap();
        if number > 1 && number < 4 {
            writer.record(&ticket, &Event::Completed { id }).unwrap();
        }
        if number == 3 {
            let file = SavedFile::new("out/saved.png", 3, Sha256::of("png"));
            let more = vec![SavedFile::new("out/saved~2.png", 4, Sha256::of("png2"))];
            writer.record(&ticket, &Event::Saved { id, file, more }).unwrap();
        }
        if number == 4 {
            writer.record(&ticket, &Event::Failed { id, code: Some("generation_failed".into()) }).unwrap();
        }
    }
    drop(writer);
    let mut writer = open(medium).unwrap();
    writer.start(job(99), &run).unwrap();
    let twice = send(&mut writer, "twice", None);
    writer.record(&twice, &Event::Rejected { status: 503, kind: "unavailable".into() }).unwrap();
    let twice = send(&mut writer, "twice", Some(1));
    writer.record(&twice, &Event::Accepted { id: job(5) }).unwrap();
    send(&mut writer, "open", None);
}

/// Nothing that was sent goes out again, whatever the caller says it has seen.
fn assert_safe(writer: &mut Writer, sent: &dyn Fn(&str) -> bool, context: &str) {
    let Some(batch) = writer.contents.batch else {
        assert!(!PAID.iter().chain(&UNPAID).any(|id| sent(id)), "the batch is lost: {context}");
        return;
    };
    for id in PAID.into_iter().filter(|id| sent(id)) {
        let key = Key::new(batch, CustomId::new(id).unwrap());
        for after in [None, Some(1), Some(2), Some(3)] {
            // The first try of "twice" was rejected, and its second one may not be sent yet.
            let is_known_rejection = id == "twice" && after == Some(1);
            let begun = writer.begin(&key, &intent(id, after));
            assert!(is_known_rejection || !matches!(begun, Ok(Begin::Fresh(_))), "{id} after {after:?}: {context}");
        }
    }
    for id in UNPAID.into_iter().filter(|id| sent(id)) {
        let key = Key::new(batch, CustomId::new(id).unwrap());
        let begun = writer.begin(&key, &intent(id, None));
        assert!(!matches!(begun, Ok(Begin::Fresh(_))), "{id}: {context}");
    }
}

/// Whether `mark` was made this often by then.
fn marked(ops: &[Op], mark: &str) -> usize {
    ops.iter().filter(|op| matches!(op, Op::Mark(it) if it == mark)).count()
}

#[test]
fn whatever_a_crash_leaves_the_journal_opens_and_no_key_that_was_sent_is_fresh() {
    let medium = Recording::default();
    history(&medium);
    let ops = medium.ops();
    let mut contents = HashSet::new();
    for length in 0..=ops.len() {
        let past = &ops[..length];
        for (number, content) in after_crash(&[], past).into_iter().enumerate() {
            let marks = ops[..length].iter().filter(|op| matches!(op, Op::Mark(_))).count();
            if !contents.insert((content.clone(), marks)) {
                continue;
            }
            let context = format!("{length} operations, content {number}");
            let crashed = Recording::of(content.clone());
            let mut writer = open(&crashed).unwrap_or_else(|e| panic!("{context}: {e}"));
            let recovery = crashed.ops();
            // The second try of "twice" has the same name as the first.
            let sent = |id: &str| marked(past, id) > usize::from(id == "twice");
            assert_safe(&mut writer, &sent, &context);
            if recovery.len() < 2 {
                continue;
            }
            // The end that was cut off and written again is torn once more.
            for again in 0..=recovery.len() {
                for content in after_crash(&content, &recovery[..again]) {
                    let mut writer = open(&Recording::of(content)).unwrap_or_else(|e| panic!("{context}, again: {e}"));
                    assert_safe(&mut writer, &sent, &context);
                }
            }
        }
    }
    assert!(contents.len() > 300, "only {} contents", contents.len());
}

/// What was known, as text.
fn everything(writer: &mut Writer) -> Vec<String> {
    let ids = writer.ids().unwrap();
    let mut say = |id: &CustomId| format!("{id} {:?}", writer.last(&key(writer, id.as_str())).unwrap());
    let mut all: Vec<_> = ids.iter().map(&mut say).collect();
    all.sort();
    all
}

#[test]
fn a_journal_that_is_opened_again_says_what_it_said() {
    let medium = Recording::default();
    history(&medium);
    let mut writer = open(&medium).unwrap();
    assert_eq!(writer.contents.settled.all().len(), 1);
    let said = everything(&mut writer);
    let spent = writer.contents.book.spent();
    assert_eq!(said.len(), 9);
    assert_eq!(spent.low, "0.1616".parse().unwrap());
    assert_eq!(spent.high, "0.2424".parse().unwrap());
    assert_eq!(spent.jobs, 7);
    drop(writer);
    let length = medium.content().len();
    assert_eq!(everything(&mut open(&medium).unwrap()), said);
    assert_eq!(medium.content().len(), length);
}

fn check_flipped(flipped: Vec<u8>, context: &str) {
    let medium = Recording::of(flipped);
    let sent = |_: &str| true;
    match open(&medium) {
        Ok(mut writer) => assert_safe(&mut writer, &sent, context),
        Err(Error::Journal(e)) => {
            assert!(matches!(e.problem, JournalProblem::Damaged { .. }), "{context}: {e}");
            let mut file = medium.clone();
            repair_file(Path::new("a.journal.jsonl"), &mut file, &clock()).unwrap();
            let mut writer = open(&medium).unwrap_or_else(|e| panic!("{context}, repaired: {e}"));
            assert_safe_but_batch(&mut writer, context);
            for id in ["never-named", "failed", "rejected", "not-sent"] {
                if writer.contents.book.lost() > 0 {
                    let key = key(&writer, id);
                    for after in [None, Some(1)] {
                        let begun = writer.begin(&key, &intent(id, after)).unwrap();
                        // Where the end of a job is lost, it is polled again.
                        let waits = matches!(begun, Begin::InDoubt(_) | Begin::Accepted(_));
                        assert!(waits, "{id}: {begun:?}: {context}, repaired");
                    }
                }
            }
        }
        Err(e) => panic!("{context}: {e}"),
    }
}

fn assert_safe_but_batch(writer: &mut Writer, context: &str) {
    assert!(writer.contents.batch.is_some(), "{context}");
    assert_safe(writer, &|_| true, context);
}

#[test]
fn every_flipped_byte_is_noticed_or_harmless_and_so_is_its_repair() {
    let medium = Recording::default();
    history(&medium);
    let content = medium.content();
    for (at, byte) in content.iter().enumerate() {
        let bytes = [byte ^ 1, byte ^ 0x20, byte ^ 0x80, 0, b'\n', b'"'];
        check_byte(&content, at, bytes[at % bytes.len()]);
    }
}

#[test]
#[ignore = "takes minutes: `just chaos`"]
fn every_byte_in_every_form_is_noticed_or_harmless_and_so_is_its_repair() {
    let medium = Recording::default();
    history(&medium);
    let content = medium.content();
    for at in 0..content.len() {
        for byte in 0..=255 {
            check_byte(&content, at, byte);
        }
    }
}

fn check_byte(content: &[u8], at: usize, byte: u8) {
    let mut flipped = content.to_vec();
    flipped[at] = byte;
    check_flipped(flipped, &format!("byte {at} is {byte:#x}"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_stretch_is_noticed_or_harmless_and_so_is_its_repair(at: prop::sample::Index, bytes: [u8; 3]) {
        let medium = Recording::default();
        history(&medium);
        let mut content = medium.content();
        // Not the very end: what is missing there cannot be told from what a crash left.
        let at = at.index(content.len() - 400);
        content[at..at + 3].copy_from_slice(&bytes);
        check_flipped(content, &format!("bytes {at}.. are {bytes:?}"));
    }

    #[test]
    fn whatever_a_file_holds_it_is_opened_or_said_to_be_damaged(content: Vec<u8>) {
        if let Err(e) = open(&Recording::of(content)) {
            prop_assert!(matches!(e, Error::Journal(_)), "{e}");
        }
    }
}

#[test]
fn a_line_that_is_lost_or_stands_there_twice_is_noticed() {
    let medium = Recording::default();
    history(&medium);
    let text = String::from_utf8(medium.content()).unwrap();
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    for index in 0..lines.len() - 1 {
        let mut without = lines.clone();
        without.remove(index);
        check_flipped(without.concat().into_bytes(), &format!("without line {}", index + 1));
        let mut doubled = lines.clone();
        doubled.insert(index, lines[index]);
        let opened = open(&Recording::of(doubled.concat().into_bytes()));
        assert!(matches!(opened, Err(Error::Journal(_))), "line {} twice", index + 1);
        check_flipped(doubled.concat().into_bytes(), &format!("line {} twice", index + 1));
    }
}

#[test]
fn a_repair_without_a_lost_line_puts_nothing_in_doubt() {
    let medium = Recording::default();
    history(&medium);
    let said = everything(&mut open(&medium).unwrap());
    let mut content = medium.content();
    // A newline in the middle becomes something else.
    let at = content.iter().position(|byte| *byte == b'\n').unwrap();
    content[at] = b' ';
    let medium = Recording::of(content.clone());
    assert!(open(&medium).is_err());
    let repair = repair_file(Path::new("a.journal.jsonl"), &mut medium.clone(), &clock()).unwrap();
    assert_eq!(repair.lost, 0);
    assert_eq!(medium.0.lock().unwrap().asides, [content]);
    assert_eq!(everything(&mut open(&medium).unwrap()), said);
}

#[test]
fn lines_with_numbers_that_nobody_writes_are_repaired() {
    let medium = Recording::default();
    history(&medium);
    let first = String::from_utf8(medium.content()).unwrap().lines().next().unwrap().to_owned();
    let sealed = |line: &str, number: u64| {
        let text = line.replacen("\"n\":1,", &format!("\"n\":{number},"), 1);
        let text = text.rsplit_once(",\"crc\"").unwrap().0.to_owned();
        format!("{text},\"crc\":\"{:08x}\"}}\n", crc32fast::hash(text.as_bytes()))
    };
    let rubbish = "x".repeat(200) + "\n";
    for (content, lost) in [
        (sealed(&first, 0), 1),
        (sealed(&first, 1) + &sealed(&first, 0), 1),
        (sealed(&first, u64::MAX) + &rubbish + &rubbish, u64::MAX),
    ] {
        let medium = Recording::of(content.into_bytes());
        assert!(open(&medium).is_err());
        assert_eq!(repair_file(Path::new("a.journal.jsonl"), &mut medium.clone(), &clock()).unwrap().lost, lost);
        open(&medium).unwrap();
    }
}

#[test]
fn an_editor_that_writes_other_newlines_loses_nothing() {
    let medium = Recording::default();
    history(&medium);
    let said = everything(&mut open(&medium).unwrap());
    let text = String::from_utf8(medium.content()).unwrap().replace('\n', "\r\n");
    let medium = Recording::of(text.into_bytes());
    assert!(open(&medium).is_err());
    let repair = repair_file(Path::new("a.journal.jsonl"), &mut medium.clone(), &clock()).unwrap();
    assert_eq!(repair.lost, 0);
    assert_eq!(everything(&mut open(&medium).unwrap()), said);
}

#[test]
fn after_a_repair_with_a_lost_line_each_key_waits_for_a_decision() {
    let medium = Recording::default();
    history(&medium);
    let mut content = medium.content();
    let at = content.windows(20).position(|it| it == b"\"custom_id\":\"unknown").unwrap();
    content[at + 14] ^= 1;
    let medium = Recording::of(content);
    let repair = repair_file(Path::new("a.journal.jsonl"), &mut medium.clone(), &clock()).unwrap();
    assert_eq!(repair.lost, 1);
    let mut writer = open(&medium).unwrap();
    let new = key(&writer, "never-named");
    assert!(matches!(writer.begin(&new, &intent("never-named", None)), Ok(Begin::InDoubt(_))));
    let decided = Ticket::new(new.clone(), 0);
    writer.record(&decided, &Event::None).unwrap();
    assert!(matches!(writer.begin(&new, &intent("never-named", None)), Ok(Begin::Fresh(_))));
    // The decision is about one key, and outlives the process.
    drop(writer);
    let mut writer = open(&medium).unwrap();
    assert!(matches!(writer.begin(&new, &intent("never-named", None)), Ok(Begin::InDoubt(_))));
    let other = key(&writer, "other");
    assert!(matches!(writer.begin(&other, &intent("other", None)), Ok(Begin::InDoubt(_))));
    let rejected = key(&writer, "rejected");
    assert!(matches!(writer.begin(&rejected, &intent("rejected", Some(1))), Ok(Begin::InDoubt(_))));
    writer.record(&Ticket::new(rejected.clone(), 1), &Event::Resend).unwrap();
    assert!(matches!(writer.begin(&rejected, &intent("rejected", Some(1))), Ok(Begin::Fresh(_))));
}

#[test]
fn a_repair_takes_a_job_from_any_line_that_names_it() {
    let id = job(7);
    let file = SavedFile::new("out/a.png", 3, Sha256::of("png"));
    for lost in [&["accepted"][..], &["completed"], &["accepted", "completed"]] {
        for is_saved in [true, false] {
            let medium = Recording::default();
            let mut writer = open(&medium).unwrap();
            writer.start(job(99), &Run::new("u")).unwrap();
            let ticket = fresh(&mut writer, "a", None);
            writer.record(&ticket, &Event::Accepted { id }).unwrap();
            writer.record(&ticket, &Event::Completed { id }).unwrap();
            if is_saved {
                writer.record(&ticket, &Event::Saved { id, file: file.clone(), more: Vec::new() }).unwrap();
            }
            drop(writer);
            let mut text = String::from_utf8(medium.content()).unwrap();
            let id_text = id.to_string();
            for event in lost {
                let from = text.find(&format!("\"e\":\"{event}\"")).unwrap();
                let at = from + text[from..].find(&id_text).unwrap();
                text.replace_range(at..=at, "f");
            }
            let medium = Recording::of(text.into_bytes());
            let repair = repair_file(Path::new("a.journal.jsonl"), &mut medium.clone(), &clock()).unwrap();
            assert_eq!(repair.lost, lost.len() as u64, "{lost:?}");
            let mut writer = open(&medium).unwrap();
            let key = key(&writer, "a");
            let names_the_job = is_saved || !lost.contains(&"completed") || !lost.contains(&"accepted");
            let state = writer.last(&key).unwrap().unwrap().attempt.state;
            assert_eq!(state.id(), names_the_job.then_some(id), "{lost:?}");
            assert_eq!(matches!(state, State::Saved { .. }), is_saved, "{lost:?}: {state:?}");
            let begun = writer.begin(&key, &intent("a", None)).unwrap();
            assert_eq!(matches!(begun, Begin::Accepted(_)), names_the_job, "{begun:?}");
            assert_eq!(matches!(begun, Begin::InDoubt(_)), !names_the_job, "{begun:?}");
        }
    }
}

#[test]
fn a_full_disk_before_the_request_costs_nothing_and_can_be_tried_again() {
    let medium = Recording::default();
    let mut writer = open(&medium).unwrap();
    writer.start(job(99), &Run::new("u")).unwrap();
    let before = medium.content();
    let a = key(&writer, "a");
    medium.breaks(Break::Append(40));
    assert!(matches!(writer.begin(&a, &intent("a", None)), Err(Error::Io(_))));
    assert_eq!(medium.content(), before);
    assert!(matches!(writer.begin(&a, &intent("a", None)), Ok(Begin::Fresh(_))));
}

#[test]
fn a_write_that_cannot_be_cut_back_is_the_last() {
    let medium = Recording::default();
    let mut writer = open(&medium).unwrap();
    writer.start(job(99), &Run::new("u")).unwrap();
    let a = key(&writer, "a");
    medium.breaks(Break::AppendAndTruncate(40));
    assert!(writer.begin(&a, &intent("a", None)).is_err());
    medium.0.lock().unwrap().breaks = None;
    let length = medium.content().len();
    assert!(matches!(writer.begin(&a, &intent("a", None)), Err(Error::Journal(_))));
    assert_eq!(medium.content().len(), length);
    drop(writer);
    let mut writer = open(&medium).unwrap();
    assert!(matches!(writer.begin(&a, &intent("a", None)), Ok(Begin::Fresh(_))));
}

#[test]
fn an_id_that_cannot_be_written_is_handed_out_as_the_line_to_append() {
    for broken in [Break::Append(0), Break::AppendAndTruncate(30), Break::Sync] {
        let medium = Recording::default();
        let mut writer = open(&medium).unwrap();
        writer.start(job(99), &Run::new("u")).unwrap();
        let tickets: Vec<_> = ["a", "b", "c"].map(|id| fresh(&mut writer, id, None)).into();
        medium.breaks(broken);
        let mut handed_out = String::new();
        for (number, ticket) in (1..).zip(&tickets) {
            let event = if number == 3 {
                Event::Rejected { status: 400, kind: "invalid_request".into() }
            } else {
                Event::Accepted { id: job(number) }
            };
            let Err(Error::NotRecorded(e)) = writer.record(ticket, &event) else { panic!("{broken:?}") };
            handed_out += &(e.line + "\n");
            medium.0.lock().unwrap().breaks = None;
        }
        // This run goes on waiting for them, and sends nothing more.
        let a = key(&writer, "a");
        assert_eq!(writer.last(&a).unwrap().unwrap().attempt.state, State::Accepted { id: job(1) });
        let d = key(&writer, "d");
        assert!(matches!(writer.begin(&d, &intent("d", None)), Err(Error::Journal(_))), "{broken:?}");
        drop(writer);
        let mut content = medium.content();
        content.extend(handed_out.as_bytes());
        let mut writer = open(&Recording::of(content)).unwrap_or_else(|e| panic!("{broken:?}: {e}"));
        for (number, id) in [(1, "a"), (2, "b")] {
            let key = key(&writer, id);
            let last = writer.last(&key).unwrap().unwrap();
            assert_eq!(last.attempt.state, State::Accepted { id: job(number) }, "{broken:?}");
        }
        let c = key(&writer, "c");
        assert!(matches!(writer.last(&c).unwrap().unwrap().attempt.state, State::NoJob(_)));
    }
}

#[test]
fn a_failed_sync_of_an_intent_ends_all_sending() {
    let medium = Recording::default();
    let mut writer = open(&medium).unwrap();
    writer.start(job(99), &Run::new("u")).unwrap();
    let a = key(&writer, "a");
    medium.breaks(Break::Sync);
    assert!(matches!(writer.begin(&a, &intent("a", None)), Err(Error::Io(_))));
    assert!(matches!(writer.begin(&a, &intent("a", None)), Err(Error::Journal(_))));
}

#[test]
fn what_another_program_appends_ends_all_sending() {
    let medium = Recording::default();
    let mut writer = open(&medium).unwrap();
    writer.start(job(99), &Run::new("u")).unwrap();
    let ticket = fresh(&mut writer, "a", None);
    medium.0.lock().unwrap().content.extend(b"x");
    let b = key(&writer, "b");
    let Err(Error::Journal(e)) = writer.begin(&b, &intent("b", None)) else { panic!("it was begun") };
    assert!(matches!(e.problem, JournalProblem::ForeignWriter));
    assert!(matches!(writer.record(&ticket, &Event::Accepted { id: job(1) }), Err(Error::NotRecorded(_))));
}

#[test]
fn clocks_change_nothing_of_who_may_send() {
    for days in [-1, 1] {
        let medium = Recording::default();
        history(&medium);
        let wrong: Clock = Arc::new(move || clock()() + TimeDelta::days(days));
        let mut writer = Writer::open(Path::new("a.journal.jsonl"), Box::new(medium.clone()), wrong).unwrap();
        assert_safe(&mut writer, &|_| true, "a wrong clock");
        fresh(&mut writer, "new", None);
        drop(writer);
        assert_safe(&mut open(&medium).unwrap(), &|id| id != "new", "the right clock again");
    }
}

#[test]
fn a_cap_holds_over_runs() {
    let medium = Recording::default();
    history(&medium);
    let mut writer = open(&medium).unwrap();
    let a = key(&writer, "a");
    writer.cap = Cap::NONE.usd("0.2827".parse().unwrap());
    assert!(matches!(writer.begin(&a, &intent("a", None)), Err(Error::Cap(_))));
    writer.cap = Cap::NONE.jobs(7);
    assert!(matches!(writer.begin(&a, &intent("a", None)), Err(Error::Cap(_))));
    let unpriced = Intent { usd: None, ..intent("a", None) };
    writer.cap = Cap::NONE.usd("1000".parse().unwrap());
    assert!(matches!(writer.begin(&a, &unpriced), Err(Error::Cap(_))));
    writer.cap = Cap::NONE.usd("0.2828".parse().unwrap()).jobs(8);
    assert!(matches!(writer.begin(&a, &intent("a", None)), Ok(Begin::Fresh(_))));
}

#[test]
fn a_file_that_is_no_journal_stays_as_it_is() {
    for text in ["{\"prompt\":\"a duck\"}", "{\"prompt\":\"a duck\"}\n", "notes", "\n"] {
        let medium = Recording::of(text.into());
        let refused = open(&medium).map(drop);
        assert!(matches!(refused, Err(Error::Journal(_))), "{text}: {refused:?}");
        assert_eq!(medium.content(), text.as_bytes());
    }
}

#[test]
fn a_settled_key_is_read_again_from_the_file_and_can_be_saved_again() {
    let medium = Recording::default();
    history(&medium);
    let mut writer = open(&medium).unwrap();
    let saved = key(&writer, "saved");
    let spent = writer.contents.book.spent();
    let ticket = Ticket::new(saved.clone(), 1);
    let file = SavedFile::new("out/saved.png", 7, Sha256::of("fetched again"));
    let again = Event::Saved { id: job(3), file: file.clone(), more: vec![] };
    for _ in 0..2 {
        writer.record(&ticket, &again).unwrap();
    }
    let state = State::Saved { id: job(3), file, more: vec![] };
    assert_eq!(writer.last(&saved).unwrap().unwrap().attempt.state, state);
    assert_eq!(writer.find_job(job(3)).unwrap().unwrap(), saved.custom_id);
    assert_eq!(writer.contents.book.spent(), spent);
    let other = writer.record(&ticket, &Event::Accepted { id: job(77) });
    assert!(other.is_err());
    drop(writer);
    let mut writer = open(&medium).unwrap();
    assert_eq!(writer.last(&saved).unwrap().unwrap().attempt.state, state);
    // What has changed on disk meanwhile is an error, not a key that is not known.
    let text = String::from_utf8(medium.content()).unwrap();
    medium.0.lock().unwrap().content = text.replace("\"custom_id\":\"saved\"", "\"custom_id\":\"sAved\"").into_bytes();
    assert!(writer.begin(&saved, &intent("saved", Some(1))).is_err());
}

#[test]
fn a_moved_journal_sends_nothing_and_can_be_moved_again_to_the_same_place() {
    let medium = Recording::default();
    history(&medium);
    let mut writer = open(&medium).unwrap();
    writer.moved("luma@db").unwrap();
    drop(writer);
    let mut writer = open(&medium).unwrap();
    writer.moved("luma@db").unwrap();
    assert!(writer.moved("other").is_err());
    assert!(writer.start(job(99), &Run::new("u")).is_err());
    let a = key(&writer, "a");
    assert!(matches!(writer.begin(&a, &intent("a", None)), Err(Error::Journal(_))));
}
