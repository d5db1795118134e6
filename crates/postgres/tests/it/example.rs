//! The example, by the three commands of its README, as a newcomer types them.

use std::path::Path;

use tokio::process::Command;

use crate::{cluster::Cluster, program::as_from_a_shell};

#[tokio::test]
async fn three_commands_of_the_readme_make_every_picture() {
    let database = Cluster::shared().database("newcomer").await;
    let folder = tempfile::tempdir().unwrap();
    let readme = include_str!("../../examples/fleet/README.md");
    let commands: Vec<_> = readme.lines().filter(|line| line.starts_with("cargo run")).collect();
    assert_eq!(commands.len(), 3);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for command in commands {
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).current_dir(&root).env("FLEET_OUT", folder.path()).env("DATABASE_URL", &database);
        as_from_a_shell(&mut shell);
        shell.env_remove("LUMA_AGENTS_API_KEY").env_remove("LUMA_BASE_URL");
        let output = shell.output().await.unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let pictures = folder.path().read_dir().unwrap().flatten();
    let pictures = pictures.filter(|file| file.path().extension().is_some_and(|it| it == "png"));
    assert_eq!(pictures.count(), 24);
}

#[tokio::test]
async fn a_worker_of_the_example_needs_no_right_to_create_anything() {
    let cluster = Cluster::shared();
    let owner = cluster.database("granted").await;
    let pool = sqlx::PgPool::connect(&owner).await.unwrap();
    sqlx::raw_sql("CREATE ROLE worker_of_example LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        .execute(&pool)
        .await
        .unwrap();
    let fleet = crate::program::build().await;
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("a.jsonl");
    std::fs::write(&input, "{\"custom_id\": \"a\", \"body\": {\"prompt\": \"a duck\"}}\n").unwrap();
    let worker = owner.replace("postgres@", "worker_of_example@");
    let emulator = luma_agents::mock::Emulator::start().await.unwrap();
    let commands = [
        (&owner, vec!["migrate"]),
        (&owner, vec!["grant", "worker_of_example"]),
        (&worker, vec!["add", input.to_str().unwrap()]),
        (&worker, vec!["work", "--until-done", "--pace", "0.1"]),
    ];
    for (database, arguments) in commands {
        let mut command = Command::new(&fleet);
        command.args(&arguments).env("DATABASE_URL", database).env("FLEET_OUT", folder.path());
        command.env("LUMA_BASE_URL", emulator.base_url()).env("LUMA_AGENTS_API_KEY", emulator.api_key());
        let output = command.output().await.unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(folder.path().join("a-0.png").exists());
    pool.close().await;
}
