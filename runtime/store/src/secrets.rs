//! Secrets at rest: one file each below `<data>/secrets`, sealed with a key that never leaves the device.
//!
//! They are files and not rows, so that a removed value is not left in a page of the database or its log. The seal also covers
//! name, hosts and header: a file that was edited or renamed to send a value elsewhere does not open.

use std::fs::{self, File, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use aria_core::UnixMs;
use aria_core::secret::SecretBinding;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::StoreError;
use crate::db::lock;
use crate::files::{io_error, make_directory, names, remove, sync_directory};

/// Most secrets of one device.
const SECRETS_MAX: usize = 256;
/// Largest file read back; a value of 4 KiB in hex and its binding fit many times.
const FILE_BYTES_MAX: u64 = 64 << 10;
const KEY_BYTES: usize = 32;
const KEY_FILE: &str = "key";
const SUFFIX: &str = ".secret";

/// What is told of a secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SecretRecord {
    /// Name, hosts and header.
    pub binding: SecretBinding,
    /// When its value was set.
    pub set_at: UnixMs,
}

/// The device's secrets. Cheap to clone; every method blocks.
#[derive(Clone)]
pub struct Secrets(Arc<Inner>);

struct Inner {
    directory: PathBuf,
    key: LessSafeKey,
    /// One change at a time.
    changing: Mutex<()>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Secrets").field("directory", &self.0.directory).finish_non_exhaustive()
    }
}

impl Secrets {
    /// Opens or makes `<data_dir>/secrets`. The key is made once; a data directory without it cannot open its old secrets.
    pub fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let directory = data_dir.join("secrets");
        make_directory(&directory)?;
        fs::set_permissions(&directory, Permissions::from_mode(0o700)).map_err(io_error("set mode of", &directory))?;
        for (_, path) in names(&directory)?.iter().filter(|(name, _)| name.ends_with(".new")) {
            remove(path)?;
        }
        let key = key(&directory)?;
        sync_directory(data_dir)?;
        Ok(Self(Arc::new(Inner { directory, key, changing: Mutex::new(()) })))
    }

    /// Stores a value, durably, in place of the one of the same name. The caller checked it.
    pub fn set(&self, binding: &SecretBinding, value: &str, now: UnixMs) -> Result<(), StoreError> {
        let _changing = lock(&self.0.changing);
        let path = self.path(binding.name());
        if !path.exists() && self.listed()?.len() >= SECRETS_MAX {
            return Err(StoreError::SecretsFull { limit: SECRETS_MAX });
        }
        let text = self.seal(binding, value, now)?;
        write_new(&self.0.directory, &path, text.as_bytes())
    }

    /// Everything but the values, by name. A file that does not open is an error of its own and hides none of the others.
    pub fn list(&self) -> Result<Vec<SecretRecord>, StoreError> {
        let mut records = Vec::new();
        for (name, path) in self.listed()? {
            match read(&path)? {
                Some(text) => records.push(self.record(&name, &text)?.0),
                None => continue,
            }
        }
        Ok(records)
    }

    /// Forgets a secret, durably; `false` when there is none of that name.
    pub fn remove(&self, name: &str) -> Result<bool, StoreError> {
        let _changing = lock(&self.0.changing);
        let found = self.listed()?.into_iter().find(|(known, _)| known == name);
        let Some((_, path)) = found else { return Ok(false) };
        fs::remove_file(&path).map_err(io_error("remove", &path))?;
        sync_directory(&self.0.directory)?;
        Ok(true)
    }

    /// The value of a secret with what it is bound to.
    pub fn get(&self, name: &str) -> Result<Option<(SecretBinding, Zeroizing<String>)>, StoreError> {
        // Only what is listed is looked at, so that a name is never a path.
        let Some((_, path)) = self.listed()?.into_iter().find(|(known, _)| known == name) else { return Ok(None) };
        let Some(text) = read(&path)? else { return Ok(None) };
        let (record, sealed) = self.record(name, &text)?;
        let value = self.unseal(&record, sealed)?;
        Ok(Some((record.binding, value)))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.directory.join(format!("{name}{SUFFIX}"))
    }

    fn listed(&self) -> Result<Vec<(String, PathBuf)>, StoreError> {
        let files = names(&self.0.directory)?.into_iter();
        let mut files: Vec<_> =
            files.filter_map(|(file, path)| Some((file.strip_suffix(SUFFIX)?.to_owned(), path))).collect();
        files.sort();
        Ok(files)
    }

    fn seal(&self, binding: &SecretBinding, value: &str, now: UnixMs) -> Result<String, StoreError> {
        let mut nonce = [0; NONCE_LEN];
        fill(&self.0.directory, &mut nonce)?;
        let mut sealed = Zeroizing::new(value.as_bytes().to_vec());
        let aad = Aad::from(bound(binding, now));
        let done = self.0.key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut *sealed);
        done.map_err(|_| StoreError::Corrupt { what: "secret to be sealed" })?;
        let file = json!({
            "name": binding.name(), "hosts": binding.hosts(), "header": binding.header(), "setAt": now.0,
            "nonce": hex(&nonce), "sealed": hex(&sealed),
        });
        Ok(file.to_string())
    }

    fn record(&self, name: &str, text: &str) -> Result<(SecretRecord, Sealed), StoreError> {
        let bad = || StoreError::Corrupt { what: "secret file" };
        let file: Value = serde_json::from_str(text).map_err(|_| bad())?;
        let part = |key: &str| file.get(key).and_then(Value::as_str).ok_or_else(bad);
        let hosts = file.get("hosts").and_then(Value::as_array).ok_or_else(bad)?;
        let hosts: Vec<String> = hosts.iter().filter_map(|host| host.as_str().map(str::to_owned)).collect();
        let binding = SecretBinding::parse(part("name")?, &hosts, part("header")?).map_err(|_| bad())?;
        let set_at = UnixMs(file.get("setAt").and_then(Value::as_u64).ok_or_else(bad)?);
        if binding.name() != name {
            return Err(bad());
        }
        let nonce = unhex(part("nonce")?).and_then(|nonce| nonce.try_into().ok()).ok_or_else(bad)?;
        let sealed = unhex(part("sealed")?).ok_or_else(bad)?;
        Ok((SecretRecord { binding, set_at }, Sealed { nonce, sealed }))
    }

    fn unseal(&self, record: &SecretRecord, sealed: Sealed) -> Result<Zeroizing<String>, StoreError> {
        let bad = |_| StoreError::Corrupt { what: "seal of a secret" };
        let mut bytes = Zeroizing::new(sealed.sealed);
        let aad = Aad::from(bound(&record.binding, record.set_at));
        let nonce = Nonce::assume_unique_for_key(sealed.nonce);
        let value = self.0.key.open_in_place(nonce, aad, &mut bytes).map_err(bad)?;
        let value = std::str::from_utf8(value).map_err(|_| StoreError::Corrupt { what: "value of a secret" })?;
        Ok(Zeroizing::new(value.to_owned()))
    }
}

struct Sealed {
    nonce: [u8; NONCE_LEN],
    sealed: Vec<u8>,
}

/// What the seal covers beside the value.
fn bound(binding: &SecretBinding, set_at: UnixMs) -> Vec<u8> {
    json!([binding.name(), binding.hosts(), binding.header(), set_at.0]).to_string().into_bytes()
}

/// The device's key, made when there is none.
fn key(directory: &Path) -> Result<LessSafeKey, StoreError> {
    let path = directory.join(KEY_FILE);
    let bytes = match fs::read(&path) {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let mut fresh = Zeroizing::new(vec![0; KEY_BYTES]);
            fill(&path, &mut fresh)?;
            write_new(directory, &path, &fresh)?;
            fresh
        }
        Err(error) => return Err(io_error("read", &path)(error)),
    };
    let key =
        UnboundKey::new(&CHACHA20_POLY1305, &bytes).map_err(|_| StoreError::Corrupt { what: "key of the secrets" })?;
    Ok(LessSafeKey::new(key))
}

fn fill(of: &Path, bytes: &mut [u8]) -> Result<(), StoreError> {
    let none = |_| io_error("get random numbers for", of)(ErrorKind::Other.into());
    SystemRandom::new().fill(bytes).map_err(none)
}

/// Replaces a file in one step that survives a power cut; only its owner may read it.
fn write_new(directory: &Path, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let draft = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let mut file: File = File::options().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, path)
    };
    write().map_err(io_error("write", path))?;
    sync_directory(directory)
}

/// `None` when it was removed meanwhile.
fn read(path: &Path) -> Result<Option<String>, StoreError> {
    match fs::metadata(path) {
        Ok(found) if found.len() > FILE_BYTES_MAX => return Err(StoreError::Corrupt { what: "secret file" }),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("read", path)(error)),
    }
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("read", path)(error)),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = "sk_live_canary_0123456789";

    fn binding(name: &str, host: &str) -> SecretBinding {
        SecretBinding::parse(name, &[host.to_owned()], "Authorization: Bearer {}").unwrap()
    }

    fn secrets() -> (tempfile::TempDir, Secrets) {
        let directory = tempfile::tempdir().unwrap();
        let secrets = Secrets::open(directory.path()).unwrap();
        (directory, secrets)
    }

    #[test]
    fn a_value_comes_back_after_a_restart_and_is_nowhere_in_the_clear() {
        let (directory, secrets) = secrets();
        secrets.set(&binding("stripe", "a.example"), VALUE, UnixMs(5)).unwrap();
        drop(secrets);
        let secrets = Secrets::open(directory.path()).unwrap();
        let (bound, value) = secrets.get("stripe").unwrap().unwrap();
        assert_eq!((bound, value.as_str()), (binding("stripe", "a.example"), VALUE));
        let records = secrets.list().unwrap();
        assert_eq!(records, [SecretRecord { binding: binding("stripe", "a.example"), set_at: UnixMs(5) }]);
        for (_, path) in names(&directory.path().join("secrets")).unwrap() {
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{path:?}");
            let bytes = fs::read(&path).unwrap();
            let text = hex(&bytes);
            assert!(
                !text.contains(&hex(VALUE.as_bytes())) && !text.contains(&hex(hex(VALUE.as_bytes()).as_bytes())),
                "{path:?}"
            );
        }
        assert_eq!(fs::metadata(directory.path().join("secrets")).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(!format!("{secrets:?} {records:?}").contains(VALUE));
    }

    #[test]
    fn setting_again_replaces_and_removing_forgets() {
        let (_directory, secrets) = secrets();
        secrets.set(&binding("a", "a.example"), "old-value-1", UnixMs(1)).unwrap();
        secrets.set(&binding("a", "b.example"), "new-value-2", UnixMs(2)).unwrap();
        assert_eq!(secrets.get("a").unwrap().unwrap().1.as_str(), "new-value-2");
        assert_eq!(secrets.list().unwrap().len(), 1);
        assert!(secrets.remove("a").unwrap() && !secrets.remove("a").unwrap());
        assert!(secrets.get("a").unwrap().is_none() && secrets.list().unwrap().is_empty());
    }

    #[test]
    fn a_name_is_never_a_path() {
        let (directory, secrets) = secrets();
        fs::write(directory.path().join("x.secret"), "{}").unwrap();
        for name in ["../x", "key", "/etc/passwd", ""] {
            assert!(secrets.get(name).unwrap().is_none() && !secrets.remove(name).unwrap(), "{name}");
        }
    }

    #[test]
    fn an_edited_renamed_or_foreign_file_does_not_open() {
        let (directory, secrets) = secrets();
        secrets.set(&binding("a", "a.example"), VALUE, UnixMs(1)).unwrap();
        let path = secrets.path("a");
        let good = fs::read_to_string(&path).unwrap();
        for (from, to) in [
            ("a.example:443", "b.example:443"),
            ("Bearer", "Basic"),
            ("\"setAt\":1", "\"setAt\":2"),
            ("authorization", "x-other"),
        ] {
            let edited = good.replace(from, to);
            assert_ne!(edited, good, "{from}");
            fs::write(&path, edited).unwrap();
            assert!(matches!(secrets.get("a"), Err(StoreError::Corrupt { .. })), "{from}");
        }
        fs::write(secrets.path("b"), &good).unwrap();
        assert!(matches!(secrets.get("b"), Err(StoreError::Corrupt { .. })));
        fs::write(secrets.path("b"), good.replace("\"name\":\"a\"", "\"name\":\"b\"")).unwrap();
        assert!(matches!(secrets.get("b"), Err(StoreError::Corrupt { .. })));
        fs::write(&path, &good).unwrap();
        assert!(secrets.get("a").unwrap().is_some());
        fs::write(directory.path().join("secrets/key"), [7; KEY_BYTES]).unwrap();
        assert!(matches!(Secrets::open(directory.path()).unwrap().get("a"), Err(StoreError::Corrupt { .. })));
    }

    #[test]
    fn there_is_room_for_so_many_and_an_old_one_can_still_change() {
        let (_directory, secrets) = secrets();
        for index in 0..SECRETS_MAX {
            secrets.set(&binding(&format!("s{index}"), "a.example"), VALUE, UnixMs(1)).unwrap();
        }
        assert!(matches!(
            secrets.set(&binding("more", "a.example"), VALUE, UnixMs(1)),
            Err(StoreError::SecretsFull { .. })
        ));
        secrets.set(&binding("s0", "b.example"), VALUE, UnixMs(2)).unwrap();
    }
}
