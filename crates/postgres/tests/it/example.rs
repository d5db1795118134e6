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
