//! The help texts, word by word.

use crate::support::{Ran, luma, snapshot};

const COMMANDS: [&str; 29] = [
    "",
    "image",
    "edit",
    "video",
    "video-edit",
    "reframe",
    "layers",
    "wait",
    "save",
    "get",
    "files",
    "files upload",
    "files list",
    "files get",
    "files delete",
    "estimate",
    "batch",
    "batch check",
    "batch run",
    "batch status",
    "batch doubt",
    "batch retry",
    "batch repair",
    "batch clean",
    "batch report",
    "check",
    "emulator",
    "completions",
    "man",
];

#[test]
fn every_help_text_is_the_one_in_the_snapshot() {
    let mut text = String::new();
    for command in COMMANDS {
        let ran = Ran::of(luma(&[]).args(command.split_whitespace()).arg("--help"));
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{command}");
        text += &format!("$ luma {command} --help\n{}\n", ran.stdout).replace("luma  --help", "luma --help");
    }
    snapshot("help.txt", &text);
}

#[test]
fn every_command_is_in_the_list_above() {
    for parent in ["", "files", "batch"] {
        let help = Ran::of(luma(&[]).args(parent.split_whitespace()).arg("-h")).stdout;
        let commands = help.split("Commands:").nth(1).unwrap().split("\n\n").next().unwrap().trim_start_matches('\n');
        for line in commands.lines() {
            let name = line.split_whitespace().next().unwrap();
            let name = format!("{parent} {name}");
            assert!(COMMANDS.contains(&name.trim()), "{name}");
        }
    }
}
