//! The help texts, word by word.

use crate::{
    jobs::picture,
    support::{Emulator, Ran, luma, snapshot},
};

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

/// The lines of a help text that begin with two spaces and a brace, after a heading.
fn example(command: &[&str], heading: &str) -> String {
    let help = Ran::of(luma(command).arg("--help")).stdout;
    let lines = help.lines().skip_while(|line| !line.starts_with(heading)).skip(1);
    lines.take_while(|line| line.starts_with("  ")).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_lines_of_an_input_in_the_help_are_a_batch() {
    let emulator = Emulator::start();
    emulator.write("chair.jpg", picture());
    emulator.write("b.jsonl", example(&["batch", "run"], "Input:"));
    let ran = emulator.run(&["batch", "run", "b.jsonl", "--yes"]);
    assert_eq!((ran.code, emulator.jobs().len()), (Some(0), 3), "{ran:?}");
}

#[test]
fn the_script_in_the_help_can_be_played() {
    let emulator = Emulator::scripted(&example(&["emulator"], "Script:"));
    assert_eq!(emulator.run(&["image", "a duck"]).code, Some(5));
}

#[test]
fn a_command_that_reaches_no_service_hides_the_connection_and_takes_its_flags() {
    for command in [&["estimate"][..], &["estimate", "image"], &["emulator"], &["man"], &["completions"]] {
        let help = Ran::of(luma(command).arg("--help")).stdout;
        assert!(!help.contains("--base-url"), "{help}");
    }
    for arguments in [&["--base-url", "http://localhost", "man"][..], &["man", "--base-url", "http://localhost"]] {
        assert_eq!(Ran::of(&mut luma(arguments)).code, Some(0));
    }
}
