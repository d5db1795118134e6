//! A PostgreSQL of the tests' own: from what apt has installed, on a free port, with its data in a temporary folder.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{ChildStdin, Command, Stdio},
    sync::OnceLock,
};

use sqlx::{Connection as _, PgConnection};

/// Ends with the process that started it, however that ends: its standard input is then closed.
const RUN: &str = r#""$0/pg_ctl" -D "$1" -s -w -l "$1/log" start && echo ready; read -r _
"$0/pg_ctl" -D "$1" -s -m immediate stop; rm -rf "$1""#;

const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 200
fsync = off
";

/// A server, which is ended when this is dropped.
pub(crate) struct Cluster {
    bin: PathBuf,
    data: PathBuf,
    port: u16,
    user: Option<(u32, u32)>,
    _alive: ChildStdin,
}

/// How a server is stopped.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stop {
    /// Transactions are rolled back.
    Fast,
    /// As by a crash.
    Immediate,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let bin = programs();
        // PostgreSQL does not run as root.
        let user = is_root().then(postgres_user);
        let data = tempfile::Builder::new().prefix("luma-postgres-").tempdir().unwrap().keep();
        if let Some((uid, gid)) = user {
            chown(&data, Some(uid), Some(gid)).unwrap();
        }
        let initdb = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale", "C", "--no-sync", "-D"];
        let mut command = by(user, bin.join("initdb"));
        let made = command.args(initdb).arg(&data).stdout(Stdio::null()).status().unwrap();
        assert!(made.success(), "initdb failed");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let configuration = data.join("postgresql.conf");
        let defaults = fs::read_to_string(&configuration).unwrap();
        fs::write(&configuration, format!("{defaults}{SETTINGS}port = {port}\n")).unwrap();

        let mut command = by(user, "sh");
        command.args(["-c", RUN]).arg(&bin).arg(&data).stdin(Stdio::piped()).stdout(Stdio::piped());
        #[allow(clippy::zombie_processes, reason = "it ends with this process, by the end of its input")]
        let mut child = command.spawn().unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        assert_eq!(ready, "ready\n", "{}", fs::read_to_string(data.join("log")).unwrap_or_default());
        Self { bin, data, port, user, _alive: child.stdin.take().unwrap() }
    }

    /// One for all tests that leave it running and work in databases of their own.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A program of the same installation, such as `pgbench`.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// The URL of a database, as the superuser.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Creates a database. Its URL.
    pub(crate) async fn database(&self, name: &str) -> String {
        let mut connection = PgConnection::connect(&self.url("postgres")).await.unwrap();
        let create = format!("CREATE DATABASE \"{name}\"");
        sqlx::raw_sql(sqlx::AssertSqlSafe(create)).execute(&mut connection).await.unwrap();
        self.url(name)
    }

    /// Where its data is, and the files that it reads.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Gives a file to the user that it runs as.
    pub(crate) fn own(&self, file: &Path) {
        if let Some((uid, gid)) = self.user {
            chown(file, Some(uid), Some(gid)).unwrap();
        }
    }

    /// Adds settings, and restarts the server with them.
    pub(crate) fn configure(&self, settings: &str) {
        let configuration = self.data.join("postgresql.conf");
        let before = fs::read_to_string(&configuration).unwrap();
        fs::write(&configuration, before + settings).unwrap();
        self.restart(Stop::Fast);
    }

    /// Stops the server and starts it again.
    pub(crate) fn restart(&self, stop: Stop) {
        let mode = match stop {
            Stop::Fast => "fast",
            Stop::Immediate => "immediate",
        };
        let mut command = by(self.user, self.bin.join("pg_ctl"));
        command.args(["-s", "-w", "-m", mode, "-l"]).arg(self.data.join("log")).arg("-D").arg(&self.data);
        assert!(command.arg("restart").status().unwrap().success(), "the restart failed");
    }
}

/// The newest installation.
fn programs() -> PathBuf {
    let mut found: Vec<_> = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().collect();
    found.sort_by_key(|version| version.file_name().to_string_lossy().parse::<u32>().unwrap_or_default());
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = found.iter().rev().map(|version| version.path().join("bin")).chain(std::env::split_paths(&path));
    let is_there = |folder: &PathBuf| folder.join("initdb").exists();
    folders.find(is_there).expect("PostgreSQL is missing: apt-get install -y postgresql")
}

fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.split_whitespace().take(2).eq(["Uid:", "0"]))
}

/// The user that the package of PostgreSQL has made.
fn postgres_user() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let user = users.lines().find_map(|line| line.strip_prefix("postgres:"));
    let fields: Vec<_> = user.expect("there is no user postgres: apt-get install -y postgresql").split(':').collect();
    (fields[1].parse().unwrap(), fields[2].parse().unwrap())
}

fn by(user: Option<(u32, u32)>, program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    // A folder that the user may enter.
    command.current_dir("/");
    command
}
