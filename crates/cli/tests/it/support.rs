//! Runs the program, starts emulators, compares with snapshots.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// The program, without anything of the user's: no key, no configuration, no colour.
pub(crate) fn luma(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_luma"));
    command.args(arguments).stdin(Stdio::null());
    for variable in
        ["LUMA_AGENTS_API_KEY", "LUMA_BASE_URL", "NO_COLOR", "CLICOLOR_FORCE", "RUST_LOG", "http_proxy", "https_proxy"]
    {
        command.env_remove(variable);
    }
    command.env("XDG_CONFIG_HOME", "/nonexistent").env("APPDATA", "/nonexistent").env("COLUMNS", "100");
    command
}

/// An emulator in a process of its own, and a folder to work in.
pub(crate) struct Emulator {
    child: Child,
    pub(crate) base_url: String,
    pub(crate) key: String,
    pub(crate) folder: TempDir,
}

impl Emulator {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    pub(crate) fn scripted(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("script.json");
        fs::write(&path, script).unwrap();
        Self::with(&["--script", path.to_str().unwrap()])
    }

    pub(crate) fn with(arguments: &[&str]) -> Self {
        let mut child = luma(&["emulator"]).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut value = |name: &str| {
            let line = lines.next().unwrap_or_else(|| panic!("the emulator has ended")).unwrap();
            line.strip_prefix(&format!("export {name}=")).unwrap_or_else(|| panic!("{line}")).to_owned()
        };
        let (base_url, key) = (value("LUMA_BASE_URL"), value("LUMA_AGENTS_API_KEY"));
        Self { child, base_url, key, folder: tempfile::tempdir().unwrap() }
    }

    /// The program, on this emulator and in the folder.
    pub(crate) fn luma(&self, arguments: &[&str]) -> Command {
        let mut command = luma(arguments);
        command.current_dir(self.folder.path());
        command.env("LUMA_BASE_URL", &self.base_url).env("LUMA_AGENTS_API_KEY", &self.key);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&mut self.luma(arguments))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    /// What the service would have charged for.
    pub(crate) fn jobs(&self) -> Vec<Value> {
        let address = self.base_url.strip_prefix("http://").unwrap().strip_suffix("/v1").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET /_emulator/jobs HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let body: Value = serde_json::from_str(&body[body.find('{').unwrap()..=body.rfind('}').unwrap()]).unwrap();
        body["jobs"].as_array().unwrap().clone()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a run of the program has left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(command: &mut Command) -> Self {
        Self::from(command.output().unwrap())
    }

    pub(crate) fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }

    /// The objects of `--json`.
    pub(crate) fn objects(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// Sends a signal by its name.
#[cfg(unix)]
pub(crate) fn signal(process: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &process.to_string()]).status().unwrap();
    assert!(status.success());
}

/// Waits until something is true.
pub(crate) fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_true() {
        assert!(Instant::now() < end, "{what}: not within 60 s");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Compares with a file beside the tests, which `UPDATE_SNAPSHOT=1` writes.
pub(crate) fn snapshot(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it").join(name);
    if std::env::var_os("UPDATE_SNAPSHOT").is_some() {
        fs::write(&path, text).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(text == expected, "{name} differs; UPDATE_SNAPSHOT=1 writes it anew:\n{text}");
}
