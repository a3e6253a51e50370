//! An initramfs archive (cpio "newc"), written so that the same entries give the same bytes: no times, no owners, numbered in order.

/// One entry; paths are relative, parents come first.
pub(crate) enum Entry<'a> {
    Directory { path: &'a str },
    File { path: &'a str, executable: bool, bytes: &'a [u8] },
}

/// The archive with its trailer.
pub(crate) fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        match entry {
            Entry::Directory { path } => push(&mut out, index + 1, path, 0o040_755, 2, &[]),
            Entry::File { path, executable, bytes } => {
                push(&mut out, index + 1, path, if *executable { 0o100_755 } else { 0o100_644 }, 1, bytes)
            }
        }
    }
    push(&mut out, 0, "TRAILER!!!", 0, 1, &[]);
    pad(&mut out);
    out
}

fn push(out: &mut Vec<u8>, inode: usize, path: &str, mode: u32, links: u32, bytes: &[u8]) {
    // inode, mode, uid, gid, links, mtime, size, device and rdevice (major, minor), name length, check
    let name_length = path.len() + 1;
    out.extend(
        format!(
            "070701{inode:08X}{mode:08X}{:016X}{links:08X}{:08X}{:08X}{:032X}{name_length:08X}{:08X}",
            0,
            0,
            bytes.len(),
            0,
            0
        )
        .bytes(),
    );
    out.extend(path.bytes());
    out.push(0);
    pad(out);
    out.extend(bytes);
    pad(out);
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_110_bytes_and_everything_is_aligned() {
        let bytes = archive(&[
            Entry::Directory { path: "etc" },
            Entry::File { path: "init", executable: true, bytes: b"hello" },
        ]);
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(&bytes[..14], b"07070100000001");
        assert_eq!(&bytes[110..114], b"etc\0");
        let second = (110 + 4usize).next_multiple_of(4);
        assert_eq!(&bytes[second..second + 22], b"07070100000002000081ED");
        assert_eq!(&bytes[second + 54..second + 62], b"00000005");
        assert_eq!(&bytes[second + 110..second + 115], b"init\0");
        let trailer = bytes.windows(10).position(|part| part == b"TRAILER!!!").unwrap();
        assert!(bytes[trailer + 10..].iter().all(|byte| *byte == 0));
    }
}
