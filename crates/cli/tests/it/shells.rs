//! Completions and manual pages.

use std::process::Command;

use crate::support::{Ran, luma};

/// Shells that are not on the machine are left to CI, which sets `LUMA_ALL_SHELLS`.
#[test]
fn every_shell_loads_its_completions() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("_luma");
    let file = path.to_str().unwrap();
    for (shell, program, command) in [
        ("bash", "bash", format!("source {file} && complete -p luma")),
        (
            "zsh",
            "zsh",
            format!("autoload -Uz compinit && compinit -u -D && source {file} && print -r ${{_comps[luma]}}"),
        ),
        ("fish", "fish", format!("source {file}; and complete -C 'luma ba' | string match -q 'batch*'")),
    ] {
        let ran = Ran::of(&mut luma(&["completions", shell]));
        assert_eq!(ran.code, Some(0));
        std::fs::write(&path, &ran.stdout).unwrap();
        match Command::new(program).args(["-c", &command]).output() {
            Ok(output) => {
                let ran = Ran::from(output);
                assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{shell}: {ran:?}");
            }
            Err(e) => assert!(std::env::var_os("LUMA_ALL_SHELLS").is_none(), "{shell}: {e}"),
        }
    }
}

#[test]
fn each_command_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let ran = Ran::of(luma(&["man", "--out"]).arg(folder.path()));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for page in ["luma.1", "luma-image.1", "luma-batch-run.1"] {
        let page = std::fs::read_to_string(folder.path().join(page)).unwrap();
        assert!(page.contains(".TH"), "{page}");
    }
    assert!(Ran::of(&mut luma(&["man"])).stdout.contains(".TH luma"));
}
