//! One job: from a prompt to a file, and every way to leave it and come back.

use std::{fs, path::PathBuf, process::Stdio, thread};

use serde_json::json;

use crate::support::{Emulator, Ran};

/// A picture that the service takes.
pub(crate) fn picture() -> Vec<u8> {
    let emulator = Emulator::start();
    let ran = emulator.run(&["image", "a picture"]);
    fs::read(emulator.path(ran.lines()[0])).unwrap()
}

#[test]
fn a_prompt_becomes_a_file_and_its_path_is_all_that_stdout_has() {
    let emulator = Emulator::start();
    let ran = emulator.run(&["image", "a lighthouse at dusk", "--aspect-ratio", "16:9"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let [path] = ran.lines()[..] else { panic!("{ran:?}") };
    assert!(fs::read(emulator.path(path)).unwrap().starts_with(b"\x89PNG"));
    let id = path.strip_suffix(".png").unwrap();
    assert_eq!(ran.stderr, format!("submitted {id}\n"));
    let jobs = emulator.jobs();
    assert_eq!(jobs.len(), 1);
    let expected = json!({"type": "image", "prompt": "a lighthouse at dusk", "aspect_ratio": "16:9"});
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(jobs[0]["request"][field], *value);
    }
}

#[test]
fn a_local_file_is_uploaded_and_referred_to() {
    let emulator = Emulator::start();
    emulator.write("photo.png", picture());
    let ran = emulator.run(&[
        "edit",
        "make the sky orange",
        "--source",
        "photo.png",
        "--ref",
        "photo.png",
        "--out",
        "sky.png",
    ]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "sky.png\n"), "{ran:?}");
    let request = &emulator.jobs()[0]["request"];
    assert!(request["source"]["file_id"].is_string());
    assert_eq!(request["source"], request["image_ref"][0], "one upload for one file");
    let files = emulator.run(&["files", "list", "--json"]).objects();
    assert_eq!(files.len(), 1);
    assert!(files[0]["expires_at"].is_string(), "it does not stay for ever: {}", files[0]);
}

#[test]
fn every_type_of_generation_has_a_command() {
    let emulator = Emulator::start();
    emulator.write("photo.png", picture());
    let image = emulator.run(&["image", "a room", "--async"]).lines()[0].to_owned();
    emulator.run(&["wait", &image, "--no-download"]);
    let video = emulator.run(&[
        "video",
        "slow dolly",
        "--aspect-ratio",
        "16:9",
        "--resolution",
        "540p",
        "--start-frame",
        "photo.png",
    ]);
    assert_eq!(video.code, Some(0), "{video:?}");
    let id = video.lines()[0].strip_suffix(".mp4").unwrap().to_owned();
    let (image, video) = (format!("generation:{image}"), format!("generation:{id}"));
    for arguments in [
        &["edit", "warmer", "--source", &image][..],
        &["layers", "split it", "--source", &image, "--resolution", "1k"],
        &["video-edit", "moonlit", "--source", &video, "--auto-controls"],
        &["video-edit", "moonlit", "--source", "https://example.com/in.mov", "--strength", "flex_2"],
        &["reframe", "more room", "--source", &video, "--aspect-ratio", "21:9"],
        &["video", "beats", "--keyframes", "photo.png", "--keyframe-indexes", "0", "--hdr", "--exr-export"],
    ] {
        let ran = emulator.run(arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
        for path in ran.lines() {
            assert!(emulator.path(path).is_file(), "{path}");
        }
    }
    let jobs = emulator.jobs();
    let types: Vec<_> = jobs.iter().map(|job| job["request"]["type"].as_str().unwrap()).collect();
    let expected = ["image", "video", "image_edit", "layering", "video_edit", "video_edit", "video_reframe", "video"];
    assert_eq!(types, expected);
    assert_eq!(jobs[5]["request"]["source"]["media_type"], "video/quicktime");
}

#[test]
fn a_job_can_be_left_and_fetched_later() {
    let emulator = Emulator::start();
    let submitted = emulator.run(&["image", "a duck", "--async"]);
    let id = submitted.lines()[0].to_owned();
    assert_eq!(submitted.stderr, format!("submitted {id}\n"));
    let got = emulator.run(&["get", &id]);
    assert!(got.stdout.starts_with(&format!("{id}\t")), "{got:?}");
    let waited = emulator.run(&["wait", &id, "--no-download", "--json"]).objects();
    assert_eq!((&waited[0]["state"], &waited[0]["files"]), (&json!("completed"), &json!([])));
    let saved = emulator.run(&["save", &id]);
    assert_eq!(saved.stdout, format!("{id}.png\n"));
    for command in ["save", "wait"] {
        let again = emulator.run(&[command, &id]);
        let expected = format!("error: {id}.png exists; take another name, or --overwrite\n");
        assert_eq!((again.code, again.stderr), (Some(2), expected), "a file stays as it is");
        let again = emulator.run(&[command, &id, "--json"]);
        let job = &again.objects()[0];
        assert_eq!((&job["state"], &job["error"]["code"]), (&json!("completed"), &json!("exists")), "{again:?}");
    }
    assert_eq!(emulator.run(&["save", &id, "--overwrite"]).code, Some(0));
}

#[test]
fn outputs_are_named_by_a_file_a_directory_or_a_template() {
    let emulator = Emulator::start();
    let image = emulator.run(&["image", "a room", "--async"]).lines()[0].to_owned();
    emulator.run(&["wait", &image, "--no-download"]);
    let source = format!("generation:{image}");
    let out = |out: &str| {
        let ran = emulator.run(&["layers", "split it", "--source", &source, "--out", out]);
        assert!(ran.lines().iter().all(|path| emulator.path(path).is_file()), "{ran:?}");
        ran
    };
    let file = out("layer.png");
    assert_eq!(file.lines()[..2], ["layer.png", "layer-2.png"], "{file:?}");
    assert_eq!(file.stderr.lines().count(), 1, "the names fit: {file:?}");
    let other = out("layer.jpg");
    assert!(other.stderr.contains("note: layer.jpg is image/png; --output-format"), "{other:?}");
    let template = out("a/{type}-{index}.{ext}");
    assert_eq!(template.lines()[..2], ["a/layering-0.png", "a/layering-1.png"], "from 0: {template:?}");
    assert!(out("b/").lines()[0].starts_with("b/"));
    assert_eq!(fs::read_dir(emulator.path("a")).unwrap().count(), template.lines().len(), "nothing else is left");

    let paid = emulator.jobs().len();
    for wrong in [
        "layer.png",
        "{name}.png",
        "{in{id}dex}.png",
        "{id}/x.png",
        "{id}/",
        "{id}\\x.png",
        "{ext}.{ext}",
        "{ext}",
        "a\u{1b}[2J{ext}",
        ".luma-{id}.part",
        "/proc/none/x.png",
    ] {
        let ran = out(wrong);
        assert!(ran.code == Some(2) || ran.code == Some(1), "{wrong}: {ran:?}");
    }
    assert_eq!(emulator.jobs().len(), paid, "all that can be known is an error before anything is paid");
}

#[test]
fn two_outputs_of_a_command_never_end_in_one_file() {
    let emulator = Emulator::start();
    let id = || emulator.run(&["image", "a room", "--async"]).lines()[0].to_owned();
    let (one, other) = (id(), id());
    emulator.run(&["wait", &one, &other, "--no-download"]);
    let source = format!("generation:{one}");
    for (out, second) in [("a/{type}.{ext}", "a/layering-2.png"), ("b/{type}", "b/layering-2"), ("c/x", "c/x-2")] {
        let ran = emulator.run(&["layers", "split it", "--source", &source, "--out", out, "--overwrite"]);
        let files = fs::read_dir(emulator.path(&out[..1])).unwrap().count();
        assert_eq!((ran.code, ran.lines().len()), (Some(0), files), "{ran:?}");
        assert!(files > 1 && ran.lines()[1] == second, "{ran:?}");
    }
    for command in ["wait", "save"] {
        for out in ["x.{ext}", "{index}.{ext}"] {
            let ran = emulator.run(&[command, &one, &other, "--out", out, "--overwrite"]);
            assert!(ran.code == Some(2) && ran.stderr.contains("{id}") && ran.stdout.is_empty(), "{ran:?}");
        }
        let ran = emulator.run(&[command, &one, &other, "--out", "{id}.{ext}", "--overwrite"]);
        assert_eq!((ran.code, ran.lines().len()), (Some(0), 2), "{ran:?}");
    }
}

/// The files that are not complete yet, or have no name.
fn parts(emulator: &Emulator) -> Vec<PathBuf> {
    let files = fs::read_dir(emulator.folder.path()).unwrap().map(|it| it.unwrap().path());
    files.filter(|it| it.extension().is_some_and(|extension| extension == "part")).collect()
}

#[test]
fn a_file_that_cannot_get_its_name_is_kept_and_not_fetched_again() {
    let emulator = Emulator::scripted(r#"{"downloads": [{"times": 6, "cut_after": 100}]}"#);
    let id = emulator.run(&["image", "a duck", "--async"]).lines()[0].to_owned();
    let mut command = emulator.luma(&["wait", &id, "--out", "x.png"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    crate::support::until("a part", || !parts(&emulator).is_empty());
    fs::create_dir(emulator.path("x.png")).unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert!(ran.code == Some(1) && ran.stderr.contains(&format!("luma save {id}")), "{ran:?}");
    let [part] = &parts(&emulator)[..] else { panic!("{:?}", parts(&emulator)) };
    let kept = fs::read(part).unwrap();

    fs::remove_dir(emulator.path("x.png")).unwrap();
    assert_eq!(emulator.run(&["save", &id, "--out", "x.png"]).code, Some(0));
    assert!(kept == fs::read(emulator.path("x.png")).unwrap(), "it was complete");
    assert_eq!(parts(&emulator), Vec::<PathBuf>::new());
}

#[test]
fn what_the_service_says_of_a_job_cannot_name_another_folder() {
    let emulator = Emulator::scripted(r#"{"default": {"type": "../{index}", "model": "a/..\\\u001b{b}"}}"#);
    let ran = emulator.run(&["image", "a duck", "--out", "a/{type}_{model}.{ext}"]);
    assert_eq!((ran.code, ran.lines()), (Some(0), vec!["a/..--index-_a-..---b-.png"]), "{ran:?}");
    assert!(emulator.path(ran.lines()[0]).is_file());
}

#[test]
fn ids_and_prompts_come_from_stdin() {
    let emulator = Emulator::start();
    emulator.write("prompt.txt", "a duck\n");
    let stdin = || fs::File::open(emulator.path("prompt.txt")).unwrap();
    let ran = Ran::of(emulator.luma(&["image", "-", "--async"]).stdin(stdin()));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(emulator.jobs()[0]["request"]["prompt"], "a duck");
    emulator.write("ids.txt", &ran.stdout);
    let ids = fs::File::open(emulator.path("ids.txt")).unwrap();
    assert_eq!(Ran::of(emulator.luma(&["wait", "-"]).stdin(ids)).lines().len(), 1);
}

#[test]
fn eight_jobs_are_saved_at_the_same_time() {
    let emulator = Emulator::scripted(r#"{"downloads": [{"times": 99, "stall_after": 100}]}"#);
    let ids: Vec<_> = (0..12).map(|_| emulator.run(&["image", "a duck", "--async"]).lines()[0].to_owned()).collect();
    emulator.write("ids.txt", ids.join("\n"));
    let ids = fs::File::open(emulator.path("ids.txt")).unwrap();
    let mut child = emulator.luma(&["wait", "-"]).stdin(ids).stderr(Stdio::null()).spawn().unwrap();
    crate::support::until("eight parts", || parts(&emulator).len() >= 8);
    thread::sleep(std::time::Duration::from_millis(500));
    let parts = parts(&emulator).len();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(parts, 8);
}

#[test]
fn an_id_that_is_given_twice_is_one_job() {
    let emulator = Emulator::start();
    let id = emulator.run(&["image", "a duck", "--async"]).lines()[0].to_owned();
    let ran = emulator.run(&["wait", &id, &id.to_uppercase(), "--out", "x.png"]);
    assert_eq!((ran.code, ran.lines()), (Some(0), vec!["x.png"]), "{ran:?}");
}

#[test]
fn any_field_can_be_set_also_one_that_is_newer_than_the_program() {
    let emulator = Emulator::with(&["--allow-unknown-fields"]);
    emulator.write("request.json", r#"{"prompt": "a duck", "user_id": "u"}"#);
    let arguments = ["video", "--json-request", "request.json", "--set", "seed=7", "--set", "video.fps=24", "--async"];
    let ran = emulator.run(&arguments);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.contains("`seed`"), "a typo would be seen: {}", ran.stderr);
    let request = &emulator.jobs()[0]["request"];
    assert_eq!((&request["seed"], &request["video"]["fps"], &request["user_id"]), (&json!(7), &json!(24), &json!("u")));

    emulator.write("typo.json", r#"{"prompt": "a duck", "aspect_ration": "1:1"}"#);
    let ran = emulator.run(&["image", "--json-request", "typo.json"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("aspect_ratio"), "{ran:?}");
    assert_eq!(emulator.jobs().len(), 1);
}

#[test]
fn an_estimate_is_free_and_needs_no_key() {
    let run = |arguments: &[&str]| Ran::of(&mut crate::support::luma(arguments));
    assert_eq!(run(&["estimate", "image", "a duck"]).stdout, "0.0404\n");
    let ran = run(&["estimate", "video", "a duck", "--resolution", "1080p", "--duration", "10s", "--json"]);
    assert_eq!(ran.objects()[0]["usd"]["high"], "3.6000");
    let edit = ["video-edit", "x", "--source", "https://example.com/a.mp4"];
    assert_eq!(run(&[&["estimate"], &edit[..]].concat()).stdout, "unknown\n");
    assert_eq!(run(&[&["estimate", "--source-seconds", "4"], &edit[..]].concat()).stdout, "1.0800\n");
}

#[test]
fn files_are_uploaded_listed_shown_and_deleted() {
    let emulator = Emulator::start();
    emulator.write("a.png", picture());
    let uploaded = emulator.run(&["files", "upload", "a.png", "--purpose", "reference", "--expires-in", "24h"]);
    assert_eq!(uploaded.code, Some(0), "{uploaded:?}");
    let id = uploaded.lines()[0].to_owned();
    for arguments in [&["files", "list", "--purpose", "reference"][..], &["files", "get", &id]] {
        let ran = emulator.run(arguments);
        assert_eq!(ran.stdout.split('\t').take(3).collect::<Vec<_>>(), [&*id, "ready", "image/png"], "{ran:?}");
        assert!(ran.stdout.ends_with("\ta.png\n"), "{ran:?}");
    }
    assert_eq!(emulator.run(&["files", "delete", &id]).code, Some(0));
    assert_eq!(emulator.run(&["files", "list", "--state", "ready"]).stdout, "");
}

#[test]
fn a_check_is_free() {
    let emulator = Emulator::start();
    let ran = emulator.run(&["check"]);
    assert!(ran.stdout.starts_with(&format!("{} accepts the key", emulator.base_url)), "{ran:?}");
    assert_eq!(emulator.jobs().len(), 0);
}

#[test]
fn the_key_comes_from_a_file_and_is_never_printed() {
    let emulator = Emulator::start();
    emulator.write("key", &emulator.key);
    let ran =
        Ran::of(emulator.luma(&["-vv", "image", "a duck", "--key-file", "key"]).env_remove("LUMA_AGENTS_API_KEY"));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(!ran.stderr.contains(&emulator.key) && !ran.stderr.contains("a duck"), "{}", ran.stderr);
    assert!(ran.stderr.lines().count() > 1, "-vv logs: {}", ran.stderr);
}

#[cfg(unix)]
#[test]
fn the_key_in_the_config_directory_has_to_be_private() {
    use std::os::unix::fs::PermissionsExt as _;

    let emulator = Emulator::start();
    fs::create_dir(emulator.path("luma")).unwrap();
    emulator.write("luma/key", &emulator.key);
    let check = |mode| {
        fs::set_permissions(emulator.path("luma/key"), fs::Permissions::from_mode(mode)).unwrap();
        let mut command = emulator.luma(&["check"]);
        Ran::of(command.env_remove("LUMA_AGENTS_API_KEY").env("XDG_CONFIG_HOME", emulator.folder.path()))
    };
    let open = check(0o644);
    assert!(open.code == Some(3) && open.stderr.contains("chmod 600"), "{open:?}");
    assert_eq!(check(0o600).code, Some(0));
}

#[cfg(unix)]
#[test]
fn a_signal_during_the_wait_says_how_to_come_back() {
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let emulator = Emulator::scripted(r#"{"default": {"takes": 600}}"#);
        let mut command = emulator.luma(&["image", "a duck"]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        crate::support::until("a job", || !emulator.jobs().is_empty());
        thread::sleep(std::time::Duration::from_millis(300));
        crate::support::signal(child.id(), name);
        let ran = Ran::from(child.wait_with_output().unwrap());
        let id = emulator.jobs()[0]["id"].as_str().unwrap().to_owned();
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(code), ""), "{ran:?}");
        assert!(ran.stderr.contains(&format!("luma wait {id}")), "{ran:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_signal_during_the_submission_waits_for_the_id() {
    let emulator = Emulator::scripted(r#"{"replies": [{"operation": "create_generation", "delay": 2}]}"#);
    let mut command = emulator.luma(&["image", "a duck"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    thread::sleep(std::time::Duration::from_millis(800));
    crate::support::signal(child.id(), "INT");
    let ran = Ran::from(child.wait_with_output().unwrap());
    let id = emulator.jobs()[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(ran.code, Some(130), "{ran:?}");
    assert!(ran.stderr.contains(&format!("luma wait {id}")), "{ran:?}");
}

#[cfg(unix)]
#[test]
fn a_second_signal_during_the_submission_says_what_support_needs() {
    let emulator = Emulator::scripted(
        r#"{"replies": [{"operation": "create_generation", "times": 9, "delay": 20, "after_effect": true}]}"#,
    );
    for (run, json) in [&[][..], &["--json"]].into_iter().enumerate() {
        let mut command = emulator.luma(&[&["image", "a duck"], json].concat());
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        crate::support::until("a job", || emulator.jobs().len() > run);
        crate::support::signal(child.id(), "INT");
        thread::sleep(std::time::Duration::from_millis(300));
        crate::support::signal(child.id(), "INT");
        let ran = Ran::from(child.wait_with_output().unwrap());
        let request_id = emulator.jobs()[run]["x_request_id"].as_str().unwrap().to_owned();
        let last = ran.stderr.lines().last().unwrap();
        assert!(ran.code == Some(130) && last.contains(&format!("request id {request_id}, left at 20")), "{ran:?}");
        if !json.is_empty() {
            let error: serde_json::Value = serde_json::from_str(last).unwrap();
            assert_eq!(error["error"]["request_id"], request_id);
            assert!(error["error"]["at"].as_str().unwrap().ends_with('Z'), "{error}");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_second_signal_while_a_limit_is_waited_for_leaves_nothing_in_doubt() {
    let emulator = Emulator::scripted(
        r#"{"replies": [{"operation": "create_generation", "reply": "rate_limited", "retry_after": 60, "times": 9}]}"#,
    );
    let mut command = emulator.luma(&["image", "a duck"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    thread::sleep(std::time::Duration::from_millis(800));
    for _ in 0..2 {
        crate::support::signal(child.id(), "INT");
        thread::sleep(std::time::Duration::from_millis(300));
    }
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.stderr.lines().last()), (Some(130), Some("error: stopped; no job was created")));
}
