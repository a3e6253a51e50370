//! As much ELF as the image needs: what a program wants from its loader, and what a kernel module says about itself.
//!
//! 64-bit little-endian only; anything else is a typed refusal. Every offset comes from the file, so every read is bounded.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ElfError {
    #[error("read")]
    Read(#[from] io::Error),
    #[error("not 64-bit little-endian ELF")]
    Foreign,
    #[error("headers point outside the file or are unreasonably large")]
    Malformed,
}

/// What the dynamic loader is asked for. All empty: a static program.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Needs {
    pub(crate) interpreter: Option<String>,
    pub(crate) libraries: Vec<String>,
}

const HEADERS_MAX: usize = 4096;
const TABLE_BYTES_MAX: u64 = 64 << 20;

struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    size: u64,
}

/// `None` when the file is no ELF at all.
pub(crate) fn needs(path: &Path) -> Result<Option<Needs>, ElfError> {
    let file = File::open(path)?;
    let Some(header) = header(&file)? else { return Ok(None) };
    let segments = segments(&file, &header)?;
    let mut needs = Needs::default();
    if let Some(interpreter) = segments.iter().find(|segment| segment.kind == 3) {
        needs.interpreter = Some(text_at(&read(&file, interpreter.offset, interpreter.size)?, 0)?);
    }
    let Some(dynamic) = segments.iter().find(|segment| segment.kind == 2) else { return Ok(Some(needs)) };
    let table = read(&file, dynamic.offset, dynamic.size)?;
    let entries: Vec<(u64, u64)> = table
        .chunks_exact(16)
        .map(|entry| (u64_at(entry, 0), u64_at(entry, 8)))
        .take_while(|(tag, _)| *tag != 0)
        .collect();
    let value = |wanted: u64| entries.iter().find(|(tag, _)| *tag == wanted).map(|(_, value)| *value);
    let wanted: Vec<u64> = entries.iter().filter(|(tag, _)| *tag == 1).map(|(_, value)| *value).collect();
    if wanted.is_empty() {
        return Ok(Some(needs));
    }
    let (address, size) = value(5).zip(value(10)).ok_or(ElfError::Malformed)?;
    let home = segments.iter().find(|segment| {
        segment.kind == 1 && (segment.address..segment.address.saturating_add(segment.size)).contains(&address)
    });
    let home = home.ok_or(ElfError::Malformed)?;
    let names = read(&file, address - home.address + home.offset, size)?;
    for offset in wanted {
        needs.libraries.push(text_at(&names, offset)?);
    }
    Ok(Some(needs))
}

/// The names a kernel module depends on, from its `.modinfo` section.
pub(crate) fn module_depends(bytes: &[u8]) -> Result<Vec<String>, ElfError> {
    if bytes.get(..6) != Some(b"\x7fELF\x02\x01") || bytes.len() < 64 {
        return Err(ElfError::Foreign);
    }
    let section = |index: u64| -> Result<&[u8], ElfError> {
        let at = u64_at(bytes, 0x28)
            .checked_add(index * 64)
            .and_then(|at| usize::try_from(at).ok())
            .ok_or(ElfError::Malformed)?;
        bytes.get(at..).and_then(|rest| rest.get(..64)).ok_or(ElfError::Malformed)
    };
    let content = |header: &[u8]| -> Result<&[u8], ElfError> {
        let (offset, size) = (u64_at(header, 0x18), u64_at(header, 0x20));
        let range = usize::try_from(offset)
            .ok()
            .zip(usize::try_from(offset.saturating_add(size)).ok())
            .ok_or(ElfError::Malformed)?;
        bytes.get(range.0..range.1).ok_or(ElfError::Malformed)
    };
    let names = content(section(u16_at(bytes, 0x3e).into())?)?;
    for index in 0..u64::from(u16_at(bytes, 0x3c)) {
        let header = section(index)?;
        if text_at(names, u32_at(header, 0).into())? == ".modinfo" {
            let depends = content(header)?.split(|byte| *byte == 0).find_map(|entry| entry.strip_prefix(b"depends="));
            let text = String::from_utf8_lossy(depends.unwrap_or_default());
            return Ok(text.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect());
        }
    }
    Ok(Vec::new())
}

fn header(file: &File) -> Result<Option<Vec<u8>>, ElfError> {
    let mut magic = [0; 6];
    let length = file.read_at(&mut magic, 0)?;
    if length < magic.len() || !magic.starts_with(b"\x7fELF") {
        return Ok(None);
    }
    if magic[4..] != [2, 1] {
        return Err(ElfError::Foreign);
    }
    Ok(Some(read(file, 0, 64)?))
}

fn segments(file: &File, header: &[u8]) -> Result<Vec<Segment>, ElfError> {
    let count = usize::from(u16_at(header, 0x38));
    if count > HEADERS_MAX || u16_at(header, 0x36) != 56 {
        return Err(ElfError::Malformed);
    }
    let table = read(file, u64_at(header, 0x20), 56 * count as u64)?;
    let segment = |entry: &[u8]| Segment {
        kind: u32_at(entry, 0),
        offset: u64_at(entry, 8),
        address: u64_at(entry, 16),
        size: u64_at(entry, 32),
    };
    Ok(table.chunks_exact(56).map(segment).collect())
}

fn read(file: &File, offset: u64, size: u64) -> Result<Vec<u8>, ElfError> {
    let end = offset.checked_add(size).ok_or(ElfError::Malformed)?;
    if size > TABLE_BYTES_MAX || end > file.metadata()?.len() {
        return Err(ElfError::Malformed);
    }
    let mut bytes = vec![0; usize::try_from(size).map_err(|_| ElfError::Malformed)?];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

fn text_at(bytes: &[u8], offset: u64) -> Result<String, ElfError> {
    let tail = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).ok_or(ElfError::Malformed)?;
    let text = tail.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8(text.to_vec()).map_err(|_| ElfError::Malformed)
}

fn array_at<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    bytes.get(offset..offset + N).and_then(|part| part.try_into().ok()).unwrap_or([0; N])
}

fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, offset))
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, offset))
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, offset))
}

#[cfg(test)]
#[path = "elf_test.rs"]
pub(crate) mod tests;
