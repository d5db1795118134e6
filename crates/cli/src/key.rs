//! Where the API key comes from: never from an argument, which every process of the machine can read.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use luma_agents::ApiKey;

use crate::{exit::Exit, failure::Failure};

/// What group and others may do.
#[cfg(unix)]
const OTHERS: u32 = 0o077;

/// A key is short; a file that is longer is another one.
const LONGEST: u64 = 4096;

/// The key of `--key-file`, of the environment, or of the file in the config directory, in this order.
pub(crate) fn find(file: Option<&Path>) -> Result<ApiKey, Failure> {
    if let Some(path) = file {
        return read(path);
    }
    if std::env::var_os(ApiKey::VARIABLE).is_some() {
        return ApiKey::from_env().map_err(|e| no_key(e.to_string()));
    }
    let Some(path) = config_file() else {
        return Err(no_key(format!("there is no API key; set {} or use --key-file", ApiKey::VARIABLE)));
    };
    if !path.exists() {
        let (variable, path) = (ApiKey::VARIABLE, path.display());
        return Err(no_key(format!(
            "there is no API key; set {variable}, use --key-file, or write it to {path} (mode 0600)"
        )));
    }
    check_private(&path)?;
    read(&path)
}

fn read(path: &Path) -> Result<ApiKey, Failure> {
    let shown = path.display();
    let mut key = String::new();
    let read = if path == Path::new("-") {
        io::stdin().take(LONGEST).read_to_string(&mut key)
    } else {
        File::open(path).and_then(|file| file.take(LONGEST).read_to_string(&mut key))
    };
    match read {
        Ok(_) => ApiKey::new(&key).map_err(|e| no_key(format!("{shown}: {e}"))),
        Err(e) => Err(no_key(format!("cannot read the key from {shown}: {e}"))),
    }
}

#[cfg(unix)]
fn check_private(path: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt as _;

    let mode = std::fs::metadata(path).map_err(|e| Failure::io("read", path, &e))?.permissions().mode();
    if mode & OTHERS == 0 {
        return Ok(());
    }
    let shown = path.display();
    Err(no_key(format!("others can read the key in {shown}; make it private: chmod 600 {shown}")))
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "on Unix it can fail")]
fn check_private(_: &Path) -> Result<(), Failure> {
    Ok(())
}

/// `luma/key` in the directory for configuration.
fn config_file() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|it| it.is_absolute());
    let directory = if cfg!(windows) { absolute("APPDATA") } else { absolute("XDG_CONFIG_HOME") };
    let directory = directory.or_else(|| Some(std::env::home_dir()?.join(".config")))?;
    Some(directory.join("luma").join("key"))
}

fn no_key(message: String) -> Failure {
    Failure::new(Exit::Account, "no_key", message)
}
