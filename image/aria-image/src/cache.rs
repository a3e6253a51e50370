//! Steps that are not repeated: each result lies beside a key, the hash of everything that went into it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// Collects what goes into a step.
pub(crate) struct Key(Sha256);

impl Key {
    /// `recipe` changes whenever the step's own code does.
    pub(crate) fn of(recipe: &str) -> Key {
        Key(Sha256::new()).text(recipe)
    }

    pub(crate) fn text(mut self, text: &str) -> Key {
        self.0.update((text.len() as u64).to_le_bytes());
        self.0.update(text);
        self
    }

    /// A file's content and whether it is executable.
    pub(crate) fn file(self, path: &Path) -> Result<Key> {
        let executable = fs::metadata(path)
            .map(|about| about.permissions().mode() & 0o111 != 0)
            .with_context(|| format!("read {}", path.display()))?;
        Ok(self.text(&hash_file(path)?).text(if executable { "x" } else { "-" }))
    }

    /// Every file below a directory, by relative path.
    pub(crate) fn tree(mut self, root: &Path) -> Result<Key> {
        let mut paths = Vec::new();
        list(root, &mut paths).with_context(|| format!("list {}", root.display()))?;
        paths.sort();
        for path in paths {
            let relative = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            let about = path.symlink_metadata()?;
            self = self.text(&relative);
            self = if about.is_symlink() {
                self.text(&fs::read_link(&path)?.to_string_lossy())
            } else if about.is_file() {
                self.file(&path)?
            } else {
                self.text("directory")
            };
        }
        Ok(self)
    }

    pub(crate) fn hex(self) -> String {
        hex(&self.0.finalize())
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn list(directory: &Path, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.symlink_metadata()?.is_dir() {
            list(&path, paths)?;
        }
        paths.push(path);
    }
    Ok(())
}

pub(crate) fn hash_file(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let length = file.read(&mut buffer).with_context(|| format!("read {}", path.display()))?;
        if length == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(&buffer[..length]);
    }
}

/// Keeps other builds out of a directory until the answer is dropped; waits for one that is running.
pub(crate) fn lock(directory: &Path) -> Result<File> {
    let path = directory.join(".lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .with_context(|| format!("open {}", path.display()))?;
    if file.try_lock().is_err() {
        progress("waiting", "another build is writing here");
        file.lock().with_context(|| format!("lock {}", path.display()))?;
    }
    Ok(file)
}

/// Makes `output` unless its key says that it is there already; prints one line with the time it took.
///
/// `make` writes to a temporary name that becomes `output` only when whole, so an interrupted build leaves nothing that looks finished.
pub(crate) fn step(what: &str, output: &Path, key: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let started = Instant::now();
    let note = output.with_file_name(format!(".{}.key", output.file_name().unwrap_or_default().to_string_lossy()));
    if output.exists() && fs::read_to_string(&note).is_ok_and(|found| found == key) {
        progress(what, "unchanged");
        return Ok(());
    }
    let _ = fs::remove_file(&note);
    let next = output.with_file_name(format!("{}.next", output.file_name().unwrap_or_default().to_string_lossy()));
    remove(&next)?;
    make(&next).with_context(|| what.to_owned())?;
    remove(output)?;
    fs::rename(&next, output).with_context(|| format!("put {} in place", output.display()))?;
    fs::write(&note, key).with_context(|| format!("write {}", note.display()))?;
    progress(what, &format!("{:.1} s", started.elapsed().as_secs_f64()));
    Ok(())
}

pub(crate) fn remove(path: &Path) -> Result<()> {
    let Ok(about) = path.symlink_metadata() else { return Ok(()) };
    let gone = if about.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    gone.with_context(|| format!("remove {}", path.display()))
}

pub(crate) fn progress(what: &str, how: &str) {
    say(&format!("image: {what:<32} {how}"));
}

#[allow(clippy::print_stdout, reason = "progress lines are this program's output")]
pub(crate) fn say(text: &str) {
    println!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_runs_once_per_key() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("thing");
        let mut runs = 0;
        for key in ["a", "a", "b"] {
            step("make a thing", &output, key, |next| {
                runs += 1;
                Ok(fs::write(next, key)?)
            })
            .unwrap();
        }
        assert_eq!((runs, fs::read_to_string(&output).unwrap().as_str()), (2, "b"));
    }

    #[test]
    fn a_failed_step_leaves_nothing_that_looks_finished() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("thing");
        let failed = step("make a thing", &output, "a", |next| {
            fs::write(next, "half")?;
            anyhow::bail!("no")
        });
        assert!(failed.is_err() && !output.exists());
    }

    #[test]
    fn one_build_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let first = lock(directory.path()).unwrap();
        assert!(File::open(directory.path().join(".lock")).unwrap().try_lock().is_err());
        drop(first);
        assert!(File::open(directory.path().join(".lock")).unwrap().try_lock().is_ok());
    }

    #[test]
    fn keys_see_names_contents_modes_and_links() {
        let directory = tempfile::tempdir().unwrap();
        let key = || Key::of("test").tree(directory.path()).unwrap().hex();
        let mut seen = vec![key()];
        fs::write(directory.path().join("a"), "1").unwrap();
        seen.push(key());
        fs::write(directory.path().join("a"), "2").unwrap();
        seen.push(key());
        fs::set_permissions(directory.path().join("a"), fs::Permissions::from_mode(0o755)).unwrap();
        seen.push(key());
        std::os::unix::fs::symlink("a", directory.path().join("b")).unwrap();
        seen.push(key());
        fs::create_dir(directory.path().join("c")).unwrap();
        seen.push(key());
        let mut unique = seen.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), seen.len());
    }
}
