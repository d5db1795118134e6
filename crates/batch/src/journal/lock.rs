//! One process at a time: the system's lock on the journal, or a lock file where the file system has none.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::file::sync_folder;

/// Why a journal cannot be locked.
#[derive(Debug)]
pub(crate) enum LockError {
    InUse,
    /// A lock file that this process cannot judge.
    Foreign {
        path: PathBuf,
        holder: String,
    },
    Io(io::Error),
}

impl From<io::Error> for LockError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A lock that is held.
#[derive(Debug)]
pub(crate) enum Lock {
    /// By the system, as long as the file is open.
    OfSystem,
    File(LockFile),
}

/// Locks an open journal.
pub(crate) fn acquire(file: &File, journal: &Path) -> Result<Lock, LockError> {
    match file.try_lock() {
        Ok(()) => Ok(Lock::OfSystem),
        Err(TryLockError::WouldBlock) => Err(LockError::InUse),
        Err(TryLockError::Error(e)) if has_no_locks(&e) => {
            LockFile::acquire(journal, &Process::current()).map(Lock::File)
        }
        Err(TryLockError::Error(e)) => Err(LockError::Io(e)),
    }
}

/// Whether another process holds the system's lock. For readers.
pub(crate) fn is_held(file: &File) -> bool {
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => true,
        Ok(()) => {
            let _ = file.unlock();
            false
        }
        Err(TryLockError::Error(_)) => false,
    }
}

/// `ENOLCK` and `ENOSYS` have no kind of their own everywhere.
fn has_no_locks(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported
        || (cfg!(target_os = "linux") && matches!(error.raw_os_error(), Some(37 | 38)))
}

/// Who holds a lock file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    host: String,
    /// One for each start of the machine. `None`: this system does not say.
    boot: Option<String>,
    /// The numbers of processes are those of this namespace.
    namespace: Option<String>,
    pid: u32,
    /// When the process started, in the system's own unit: numbers of processes are used again.
    start: Option<String>,
}

impl Process {
    pub(crate) fn current() -> Self {
        let read = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        let pid = std::process::id();
        Self {
            host: read("/proc/sys/kernel/hostname").unwrap_or_default(),
            boot: read("/proc/sys/kernel/random/boot_id"),
            namespace: fs::read_link("/proc/self/ns/pid").ok().map(|link| link.display().to_string()),
            pid,
            start: start_of(pid),
        }
    }

    /// Whether that process is gone for certain, as far as this one can know.
    fn is_gone(&self, us: &Self) -> bool {
        let same_machine = self.boot.is_some()
            && self.namespace.is_some()
            && (&self.host, &self.boot, &self.namespace) == (&us.host, &us.boot, &us.namespace);
        same_machine && self.start.is_some() && start_of(self.pid) != self.start
    }

    fn describe(&self) -> String {
        format!("process {} of {}", self.pid, if self.host.is_empty() { "an unknown host" } else { &self.host })
    }
}

/// The 22nd field of `/proc/PID/stat`, counted behind the name, which may hold anything.
fn start_of(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields = stat.rsplit_once(')')?.1;
    fields.split_whitespace().nth(19).map(str::to_owned)
}

/// A lock file of ours. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct LockFile {
    path: PathBuf,
    text: String,
}

impl LockFile {
    pub(crate) fn acquire(journal: &Path, us: &Process) -> Result<Self, LockError> {
        let named = |suffix: &str| {
            let name = journal.file_name().unwrap_or_default().to_string_lossy();
            journal.with_file_name(format!("{name}.{suffix}"))
        };
        let path = named("lock");
        let text = serde_json::to_string(us).map_err(io::Error::from)?;
        if create(&path, &text)? {
            return Ok(Self { path, text });
        }
        if !is_stale(&path, us)? {
            return Err(LockError::InUse);
        }
        // Only one process at a time may judge and take over, or it could move a new lock away.
        let judge = named("lock.takeover");
        if !create(&judge, &text)? {
            let is_left = is_stale(&judge, us)?;
            return Err(if is_left { foreign(judge, "a process that took the lock over") } else { LockError::InUse });
        }
        let taken = take_over(&path, &text, us);
        fs::remove_file(&judge)?;
        taken
    }
}

fn take_over(path: &Path, text: &str, us: &Process) -> Result<LockFile, LockError> {
    if !is_stale(path, us)? {
        return Err(LockError::InUse);
    }
    let aside = path.with_extension(format!("lock-{}", uuid::Uuid::new_v4()));
    fs::rename(path, &aside)?;
    let created = create(path, text)?;
    fs::remove_file(&aside)?;
    if created { Ok(LockFile { path: path.to_owned(), text: text.to_owned() }) } else { Err(LockError::InUse) }
}

/// Whether the holder of a lock file is gone. One that nobody here can judge is an error.
fn is_stale(path: &Path, us: &Process) -> Result<bool, LockError> {
    let text = match fs::read_to_string(path) {
        // Given back just now: the next call finds it free.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    let Ok(holder) = serde_json::from_str::<Process>(&text) else {
        return Err(foreign(path.to_owned(), "a process that did not write its name"));
    };
    if holder.is_gone(us) {
        return Ok(true);
    }
    let lives = (&holder.host, &holder.boot, &holder.namespace) == (&us.host, &us.boot, &us.namespace)
        && holder.start.is_some();
    if lives { Ok(false) } else { Err(foreign(path.to_owned(), &holder.describe())) }
}

fn foreign(path: PathBuf, holder: &str) -> LockError {
    LockError::Foreign { path, holder: holder.to_owned() }
}

/// Creates a file that is not there, on disk when this returns. `false`: it is there.
fn create(path: &Path, text: &str) -> io::Result<bool> {
    let mut file = match OpenOptions::new().write(true).create_new(true).open(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        other => other?,
    };
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    sync_folder(path)?;
    Ok(true)
}

impl Drop for LockFile {
    fn drop(&mut self) {
        if fs::read_to_string(&self.path).is_ok_and(|text| text == self.text) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead() -> Process {
        // The start of a process that has this number now cannot be this one.
        Process { start: Some("1".to_owned()), ..Process::current() }
    }

    fn write(journal: &Path, process: &Process) {
        fs::write(journal.with_file_name("a.jsonl.lock"), serde_json::to_string(process).unwrap()).unwrap();
    }

    #[test]
    fn a_lock_file_is_held_by_one_process_and_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("a.jsonl");
        let held = LockFile::acquire(&journal, &Process::current()).unwrap();
        assert!(matches!(LockFile::acquire(&journal, &Process::current()), Err(LockError::InUse)));
        drop(held);
        drop(LockFile::acquire(&journal, &Process::current()).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_dead_process_of_this_boot_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("a.jsonl");
        write(&journal, &dead());
        let held = LockFile::acquire(&journal, &Process::current()).unwrap();
        assert!(matches!(LockFile::acquire(&journal, &Process::current()), Err(LockError::InUse)));
        drop(held);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_process_that_cannot_be_judged_keeps_its_lock() {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("a.jsonl");
        let of_other = [
            Process { host: "elsewhere".to_owned(), ..dead() },
            Process { boot: Some("an earlier one".to_owned()), ..dead() },
            Process { namespace: Some("another container".to_owned()), ..dead() },
            Process { boot: None, namespace: None, start: None, ..dead() },
        ];
        for process in of_other {
            write(&journal, &process);
            let refused = LockFile::acquire(&journal, &Process::current());
            assert!(matches!(refused, Err(LockError::Foreign { .. })), "{process:?}: {refused:?}");
        }
        fs::write(journal.with_file_name("a.jsonl.lock"), "").unwrap();
        assert!(matches!(LockFile::acquire(&journal, &Process::current()), Err(LockError::Foreign { .. })));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn of_many_that_take_over_at_once_one_succeeds() {
        for _ in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            let journal = folder.path().join("a.jsonl");
            write(&journal, &dead());
            let attempts: Vec<_> = std::thread::scope(|scope| {
                let try_one = || scope.spawn(|| LockFile::acquire(&journal, &Process::current()));
                let running: Vec<_> = (0..8).map(|_| try_one()).collect();
                running.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(attempts.iter().filter(|it| it.is_ok()).count(), 1, "{attempts:?}");
        }
    }
}
