//! `luma batch import`, and what it, `status`, `doubt` and `report` say of a batch in the database.

use std::{
    fs,
    path::{Path, PathBuf},
};

use luma_agents_batch::{Begin, CustomId, Event, Intent, Journal, Key, Ledger as _, Run, fingerprint};
use serde_json::Value;
use tokio::process::Command;
use uuid::Uuid;

use crate::{cluster::Cluster, program::as_from_a_shell};

/// The program with the feature, whatever part of the workspace was built.
async fn build() -> PathBuf {
    let mut command = Command::new(env!("CARGO"));
    as_from_a_shell(&mut command);
    command.args(["build", "--quiet", "--package", "luma-agents-cli", "--features", "postgres"]);
    assert!(command.status().await.unwrap().success());
    let tests = std::env::current_exe().unwrap();
    tests.parent().and_then(Path::parent).unwrap().join("luma")
}

struct Shell {
    luma: PathBuf,
    folder: tempfile::TempDir,
}

impl Shell {
    /// Exit code, and what it prints: objects on stdout, text on stderr.
    async fn luma(&self, arguments: &[&str]) -> (i32, Vec<Value>, String) {
        let mut command = Command::new(&self.luma);
        command.env_clear().env("LUMA_AGENTS_API_KEY", "luma-api-test").args(["--json", "batch"]).args(arguments);
        let output = command.current_dir(self.folder.path()).output().await.unwrap();
        let objects = String::from_utf8(output.stdout).unwrap();
        // The path of a report is no object.
        let objects = objects.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        (output.status.code().unwrap(), objects, String::from_utf8(output.stderr).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_moves_to_the_database_and_is_read_there() {
    let shell = Shell { luma: build().await, folder: tempfile::tempdir().unwrap() };
    let url = Cluster::shared().database(&Uuid::new_v4().to_string()).await;
    fs::write(shell.folder.path().join("url"), format!("{url}\n")).unwrap();
    let lines = ["done", "open"].map(|id| format!("{{\"custom_id\":\"{id}\",\"body\":{{\"prompt\":\"a duck\"}}}}\n"));
    fs::write(shell.folder.path().join("shop.jsonl"), lines.concat()).unwrap();
    let journal = Journal::open(shell.folder.path().join("shop.journal.jsonl")).await.unwrap();
    let batch = journal.start(&Run::new("https://agents.example")).await.unwrap();
    for (id, event) in
        [("done", Event::Accepted { id: Uuid::new_v4() }), ("open", Event::Unknown { fault: "timeout".to_owned() })]
    {
        let key = Key::new(batch, CustomId::new(id).unwrap());
        let body = serde_json::json!({ "prompt": "a duck" });
        let fingerprint = fingerprint(&body, |path| panic!("{path}: there is no medium")).unwrap();
        let intent = Intent::new(fingerprint, "uni-1", "image");
        let Begin::Fresh(ticket) = journal.begin(&key, &intent).await.unwrap() else { panic!("{id} is new") };
        journal.record(&ticket, &event).await.unwrap();
    }
    drop(journal);

    let database = ["--database-url-file", "url"];
    let import = [&["import", "shop.jsonl", "--migrate"], &database[..]].concat();
    let (code, objects, text) = shell.luma(&import).await;
    assert_eq!(code, 0, "{text}");
    assert_eq!((&objects[0]["batch"], &objects[0]["tries"]), (&batch.to_string().into(), &2.into()));
    let (code, objects, _) = shell.luma(&import).await;
    assert_eq!((code, &objects[0]["tries"]), (0, &0.into()), "it may be repeated");

    let (code, _, text) = shell.luma(&["status", "shop.jsonl"]).await;
    assert_eq!(code, 2);
    assert!(text.contains("was moved to the database 127.0.0.1:"), "{text}");
    assert!(!text.contains("postgres://"), "{text}");
    let (code, objects, text) = shell.luma(&[&["status", "shop.jsonl"], &database[..]].concat()).await;
    assert_eq!(code, 0, "{text}");
    assert_eq!(objects[0]["states"], serde_json::json!({ "accepted": 1, "in_doubt": 1 }));
    let (code, objects, _) =
        shell.luma(&[&["status", "-", "--batch", &batch.to_string()], &database[..]].concat()).await;
    assert_eq!((code, &objects[0]["batch"]), (0, &batch.to_string().into()));

    let (code, objects, _) = shell.luma(&[&["doubt", "shop.jsonl"], &database[..]].concat()).await;
    assert_eq!((code, &objects[0]["custom_id"]), (6, &"open".into()));
    let (code, _, text) = shell.luma(&[&["doubt", "shop.jsonl", "--none", "open"], &database[..]].concat()).await;
    assert_eq!(code, 2, "it is too young: {text}");
    assert!(text.contains("may still be under way"), "{text}");
    let pool = sqlx::PgPool::connect(&url).await.unwrap();
    sqlx::query("UPDATE luma.tries SET begun_at = begun_at - interval '1 hour'").execute(&pool).await.unwrap();
    let (code, _, text) = shell.luma(&[&["doubt", "shop.jsonl", "--none", "open"], &database[..]].concat()).await;
    assert_eq!(code, 0, "{text}");
    let (code, objects, _) = shell.luma(&[&["status", "shop.jsonl"], &database[..]].concat()).await;
    assert_eq!((code, &objects[0]["states"]), (0, &serde_json::json!({ "accepted": 1, "to_be_sent": 1 })));

    let (code, _, text) = shell.luma(&[&["report", "shop.jsonl"], &database[..]].concat()).await;
    assert_eq!(code, 0, "{text}");
    let page = fs::read_to_string(shell.folder.path().join("shop.report.html")).unwrap();
    assert!(page.contains("done") && page.contains("a duck"));
    let (code, _, text) = shell.luma(&["run", "shop.jsonl", "--yes"]).await;
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("was moved to the database"), "{text}");
}
