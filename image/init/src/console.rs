//! The console: one line per event, never blocking, nothing a service wrote can forge a line of ours.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

/// Longest line shown; the rest of a longer one is cut and marked.
pub(crate) const LINE_BYTES_MAX: usize = 2048;

/// One line of PID 1 itself. Lost when the console cannot take it: a stuck serial line must not stop the machine.
pub(crate) fn say(text: &str) {
    write(&format!("aria: {}\r\n", escape(text.as_bytes())));
}

/// One line a service wrote, under that service's name.
pub(crate) fn relay(service: &str, line: &[u8]) {
    write(&format!("{service}: {}\r\n", escape(line)));
}

fn write(line: &str) {
    // Opened each time: /dev changes its mount between the stages, and a console that comes back is used again.
    if let Ok(mut console) =
        OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open("/dev/console")
    {
        let _ = console.write_all(line.as_bytes());
    }
}

/// Printable text; every control byte or broken sequence shows as an escape, so a line stays one line.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let (shown, cut) = match bytes.get(..LINE_BYTES_MAX) {
        Some(head) if bytes.len() > LINE_BYTES_MAX => (head, " [cut]"),
        _ => (bytes, ""),
    };
    let mut text = String::with_capacity(shown.len());
    for chunk in shown.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() && character != '\t' {
                text.extend(character.escape_default());
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text.push_str(cut);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_cannot_start_a_line_of_ours() {
        assert_eq!(escape(b"x\r\naria: ready"), "x\\r\\naria: ready");
        assert_eq!(escape(b"\x1b[2J"), "\\u{1b}[2J");
    }

    #[test]
    fn broken_text_is_shown_as_bytes() {
        assert_eq!(escape(b"a\xff\tb"), "a\\xff\tb");
    }

    #[test]
    fn long_lines_are_cut_and_say_so() {
        let line = vec![b'a'; LINE_BYTES_MAX + 1];
        assert!(escape(&line).ends_with("a [cut]"));
        assert_eq!(escape(&line[..LINE_BYTES_MAX]).len(), LINE_BYTES_MAX);
    }
}
