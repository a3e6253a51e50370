//! What the outside gives this device before first contact, and what it says back on the console.
//!
//! In: the hash of the operator's public key, through QEMU's fw_cfg. Never a secret: whoever reads it learns nothing, and only the holder of
//! that key can enrol with it. Out: node id and CA fingerprint, so that the operator can pin this device.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};

use crate::console;
use crate::error::InitError;

const TEMPLATE: &str = "/etc/aria/aria.toml";
/// What ariad is started with: the image's configuration plus what provisioning adds.
pub(crate) const CONFIG: &str = "/run/etc/aria.toml";
/// ariad writes it once it accepts calls.
pub(crate) const READY_FILE: &str = "/run/aria/ready.json";
const OPERATOR: &str = "/sys/firmware/qemu_fw_cfg/by_name/opt/org.aria/operator/raw";
const READY_BYTES_MAX: u64 = 64 << 10;
/// How long after boot the one enrolment call is taken.
const WINDOW_SECONDS: u32 = 900;

/// Writes ariad's configuration for this boot.
pub(crate) fn write_config() -> Result<(), InitError> {
    let wrap = |doing, path: &str| {
        let path = path.into();
        move |source| InitError::File { doing, path, source }
    };
    let template = fs::read_to_string(TEMPLATE).map_err(wrap("read", TEMPLATE))?;
    let operator = fs::read(OPERATOR).ok();
    let key = operator.as_deref().and_then(key_hash);
    match (&operator, &key) {
        (None, _) => console::say("no operator key was given, enrolment over the network is closed"),
        (Some(_), None) => console::say(
            "the operator key given through fw_cfg is not a SHA-256 in hex, enrolment over the network is closed",
        ),
        (Some(_), Some(key)) => {
            console::say(&format!("enrolment is open for {WINDOW_SECONDS} s to the key sha256:{key}"))
        }
    }
    fs::write(CONFIG, config(&template, key.as_deref())).map_err(wrap("write", CONFIG))?;
    fs::set_permissions(CONFIG, fs::Permissions::from_mode(0o644)).map_err(wrap("set the mode of", CONFIG))
}

fn config(template: &str, key: Option<&str>) -> String {
    match key {
        Some(key) => format!("{template}\n[api.enrol]\nkey_sha256 = \"{key}\"\nwindow_s = {WINDOW_SECONDS}\n"),
        None => template.to_owned(),
    }
}

/// Lower-case hex of a SHA-256, with or without `sha256:` and a final newline.
fn key_hash(raw: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(raw).ok()?.trim_end_matches(['\n', '\0']);
    hash(text.strip_prefix("sha256:").unwrap_or(text))
}

fn hash(text: &str) -> Option<String> {
    let fits = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    fits.then(|| text.to_owned())
}

/// What ariad says about itself once it serves.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Ready {
    pub(crate) node_id: String,
    pub(crate) ca_sha256: String,
    pub(crate) listen: String,
}

/// The ready file, once it is there and whole. ariad's user owns the directory, so nothing in it is followed or believed unchecked.
pub(crate) fn ready() -> Option<Ready> {
    let file =
        fs::OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(READY_FILE).ok()?;
    let mut text = String::new();
    file.take(READY_BYTES_MAX).read_to_string(&mut text).ok()?;
    read_ready(&text)
}

fn read_ready(text: &str) -> Option<Ready> {
    let document: serde_json::Value = serde_json::from_str(text).ok()?;
    let word = |key: &str| {
        let word = document.get(key)?.as_str()?;
        let plain = (1..=128).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_graphic());
        plain.then(|| word.to_owned())
    };
    let ca = word("ca_sha256")?;
    Some(Ready {
        node_id: word("node_id")?,
        ca_sha256: hash(ca.strip_prefix("sha256:").unwrap_or(&ca))?,
        listen: word("listen")?,
    })
}

/// Seconds of `IMAGE_EPOCH=` in an os-release file.
pub(crate) fn build_epoch(os_release: &str) -> Option<i64> {
    os_release
        .lines()
        .find_map(|line| line.strip_prefix("IMAGE_EPOCH="))
        .and_then(|value| value.trim_matches('"').parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn a_key_opens_the_window() {
        let text = config("[api]\n", Some(HEX));
        assert!(
            text.ends_with(&format!("[api.enrol]\nkey_sha256 = \"{HEX}\"\nwindow_s = {WINDOW_SECONDS}\n")),
            "{text}"
        );
    }

    #[test]
    fn no_key_leaves_it_closed() {
        assert_eq!(config("[api]\n", None), "[api]\n");
    }

    #[test]
    fn hashes_are_read_in_both_spellings() {
        assert_eq!(key_hash(HEX.as_bytes()).as_deref(), Some(HEX));
        assert_eq!(key_hash(format!("sha256:{HEX}\n").as_bytes()).as_deref(), Some(HEX));
    }

    #[test]
    fn anything_else_is_no_key() {
        for text in ["", "sha256:", &HEX[1..], &HEX.to_uppercase(), "\"\nwindow_s = 9\n", &format!("{HEX}0")] {
            assert_eq!(key_hash(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn readiness_is_read_whole_or_not_at_all() {
        let text =
            format!(r#"{{"listen":"0.0.0.0:7600","socket":"/run/aria/api.sock","node_id":"n-1","ca_sha256":"{HEX}"}}"#);
        let expected =
            Ready { node_id: "n-1".to_owned(), ca_sha256: HEX.to_owned(), listen: "0.0.0.0:7600".to_owned() };
        assert_eq!(read_ready(&text), Some(expected));
        assert_eq!(read_ready(&text[..text.len() - 1]), None);
        assert_eq!(read_ready(&text.replace("n-1", "n\\n1")), None, "a line break could forge a console line");
        assert_eq!(read_ready(&text.replace(HEX, "abc")), None);
    }

    #[test]
    fn the_build_time_is_in_os_release() {
        assert_eq!(build_epoch("NAME=Aria\nIMAGE_EPOCH=1700000000\n"), Some(1_700_000_000));
        assert_eq!(build_epoch("NAME=Aria\n"), None);
    }
}
