//! One header block of ustar, field by field.

use crate::error::{BundleError, Rule, refuse};
use crate::path::Kind;
use crate::tar::BLOCK;

/// What a header says, its path not yet checked.
pub(super) struct Header {
    pub(super) raw_path: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) size_bytes: u64,
    pub(super) executable: bool,
}

struct Fields<'a> {
    block: &'a [u8; BLOCK],
    label: &'a str,
}

/// Reads a block that is not all zero.
pub(super) fn parse(block: &[u8; BLOCK], label: &str) -> Result<Header, BundleError> {
    let fields = Fields { block, label };
    fields.checksum()?;
    let kind = fields.kind()?;
    fields.magic()?;
    let mode = fields.octal(100..108, "mode")?;
    for (range, name) in [(108..116, "uid"), (116..124, "gid"), (136..148, "mtime")] {
        fields.octal(range, name)?;
    }
    for (range, name) in [(329..337, "devmajor"), (337..345, "devminor")] {
        fields.device(range, name)?;
    }
    for (range, name) in [(265..297, "uname"), (297..329, "gname")] {
        fields.text(range, name)?;
    }
    if mode > 0o777 {
        return Err(fields.refuse(Rule::Mode, format!("mode {mode:o} has more than permission bits")));
    }
    if fields.bytes(157..257).iter().any(|byte| *byte != 0) {
        return Err(fields.refuse(Rule::Link, "a link target in an entry that is no link"));
    }
    if fields.bytes(500..512).iter().any(|byte| *byte != 0) {
        return Err(fields.refuse(Rule::TarExtension, "bytes after the last field of ustar"));
    }
    let size_bytes = fields.octal(124..136, "size")?;
    if kind == Kind::Directory && size_bytes != 0 {
        return Err(fields.refuse(Rule::SizeMismatch, "a directory with content"));
    }
    Ok(Header { raw_path: fields.path(kind)?, kind, size_bytes, executable: mode & 0o111 != 0 })
}

impl Fields<'_> {
    // POSIX: the sum of all bytes with the field itself as spaces; six digits, NUL, space, or seven digits and NUL.
    fn checksum(&self) -> Result<(), BundleError> {
        let no = |detail: &str| Err(self.refuse(Rule::TarChecksum, detail));
        let digits = match self.bytes(148..156) {
            [digits @ .., 0, b' '] => digits,
            [digits @ .., 0] => digits,
            _ => return no("the checksum field is not octal"),
        };
        let Some(stored) = octal(digits) else { return no("the checksum field is not octal") };
        let sum: u64 = self
            .block
            .iter()
            .enumerate()
            .map(|(index, byte)| if (148..156).contains(&index) { u64::from(b' ') } else { u64::from(*byte) })
            .sum();
        if sum == stored { Ok(()) } else { no("the checksum does not match the header") }
    }

    fn kind(&self) -> Result<Kind, BundleError> {
        let no = |rule, detail: &str| Err(self.refuse(rule, detail));
        match self.bytes(156..157) {
            [b'0' | 0] => Ok(Kind::File),
            [b'5'] => Ok(Kind::Directory),
            [b'1' | b'2'] => no(Rule::Link, "links are not allowed"),
            [b'S'] => no(Rule::Sparse, "sparse entries are not allowed"),
            [b'x' | b'g' | b'X'] => no(Rule::TarExtension, "PAX headers are not allowed"),
            [b'L' | b'K' | b'N' | b'V' | b'M' | b'D' | b'A' | b'I'] => {
                no(Rule::TarExtension, "vendor extensions are not allowed")
            }
            _ => no(Rule::EntryType, "neither a file nor a directory"),
        }
    }

    fn magic(&self) -> Result<(), BundleError> {
        match self.bytes(257..265) {
            b"ustar\x0000" => Ok(()),
            b"ustar  \0" => Err(self.refuse(Rule::TarExtension, "a GNU header; ustar is needed")),
            _ => Err(self.refuse(Rule::TarHeader, "the header has no ustar magic")),
        }
    }

    // Digits to the end of the field or to a run of NULs or spaces that reaches it. Base-256 numbers are a GNU extension.
    fn octal(&self, range: std::ops::Range<usize>, name: &str) -> Result<u64, BundleError> {
        let field = self.bytes(range);
        if field.first().is_some_and(|byte| byte & 0x80 != 0) {
            return Err(self.refuse(Rule::TarExtension, format!("{name} is a base-256 number")));
        }
        let digits = field.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(field.len());
        let (digits, end) = field.split_at(digits);
        let ends = end.iter().all(|byte| matches!(byte, 0 | b' '));
        let value = octal(digits).filter(|_| ends);
        value.ok_or_else(|| self.refuse(Rule::TarHeader, format!("{name} is not an octal number")))
    }

    // Files and directories have no device; writers leave the fields empty or write zero.
    fn device(&self, range: std::ops::Range<usize>, name: &str) -> Result<(), BundleError> {
        let empty = self.bytes(range.clone()).iter().all(|byte| *byte == 0);
        if empty || self.octal(range, name)? == 0 {
            return Ok(());
        }
        Err(self.refuse(Rule::TarHeader, format!("{name} in an entry that is no device")))
    }

    fn path(&self, kind: Kind) -> Result<Vec<u8>, BundleError> {
        let prefix = self.text(345..500, "prefix")?;
        let name = self.text(0..100, "name")?;
        let mut path = prefix.to_vec();
        if !prefix.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        // Every writer of directories ends their names with one slash.
        if kind == Kind::Directory && path.len() > 1 && path.last() == Some(&b'/') {
            path.pop();
        }
        Ok(path)
    }

    // Text up to the first NUL; what follows it must be NUL too, or two readers see two names.
    fn text(&self, range: std::ops::Range<usize>, name: &str) -> Result<&[u8], BundleError> {
        let field = self.bytes(range);
        let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
        let (text, rest) = field.split_at(end);
        if rest.iter().any(|byte| *byte != 0) {
            return Err(self.refuse(Rule::NameChars, format!("{name} has bytes after its NUL")));
        }
        Ok(text)
    }

    fn bytes(&self, range: std::ops::Range<usize>) -> &[u8] {
        self.block.get(range).unwrap_or_default()
    }

    fn refuse(&self, rule: Rule, detail: impl Into<String>) -> BundleError {
        let name = self.bytes(0..100);
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        let name = String::from_utf8_lossy(name.get(..end).unwrap_or_default());
        refuse(rule, format!("{}: {name}", self.label), detail)
    }
}

fn octal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 21 {
        return None;
    }
    digits.iter().try_fold(0u64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}
