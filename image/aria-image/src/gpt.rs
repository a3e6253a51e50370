//! A GUID partition table: protective MBR, primary and backup, as bytes.

use std::io::{self, Seek, SeekFrom, Write};

pub(crate) const SECTOR: u64 = 512;
/// Partitions begin on whole MiB, which suits every flash and every disk.
pub(crate) const ALIGN: u64 = 1 << 20;
const ENTRIES: usize = 128;
const ENTRY_BYTES: usize = 128;
/// Sectors of table and entries at either end.
const TABLE_SECTORS: u64 = 33;

#[derive(Debug, thiserror::Error)]
pub(crate) enum GptError {
    #[error("{text:?} is no GUID")]
    Guid { text: String },
    #[error("label {label:?} has more than 36 characters")]
    Label { label: String },
    #[error("more than {ENTRIES} partitions")]
    TooMany,
    #[error("write the partition table")]
    Write(#[from] io::Error),
}

pub(crate) struct Entry<'a> {
    pub(crate) label: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) uuid: &'a str,
    /// Bytes, whole MiB.
    pub(crate) start: u64,
    pub(crate) size: u64,
}

/// Bytes of a disk whose last partition ends at `end`.
pub(crate) fn disk_bytes(end: u64) -> u64 {
    (end + (TABLE_SECTORS * SECTOR)).next_multiple_of(ALIGN)
}

/// Writes all three parts onto a disk of `disk_bytes`.
pub(crate) fn write(
    disk: &mut (impl Write + Seek),
    disk_bytes: u64,
    disk_uuid: &str,
    entries: &[Entry<'_>],
) -> Result<(), GptError> {
    let sectors = disk_bytes / SECTOR;
    let table = table(entries)?;
    let uuid = guid(disk_uuid)?;
    let mut put =
        |sector: u64, bytes: &[u8]| disk.seek(SeekFrom::Start(sector * SECTOR)).and_then(|_| disk.write_all(bytes));
    put(0, &protective(sectors))?;
    put(1, &header(1, sectors - 1, 2, sectors, &uuid, &table))?;
    put(2, &table)?;
    put(sectors - TABLE_SECTORS, &table)?;
    put(sectors - 1, &header(sectors - 1, 1, sectors - TABLE_SECTORS, sectors, &uuid, &table))?;
    Ok(())
}

fn table(entries: &[Entry<'_>]) -> Result<Vec<u8>, GptError> {
    if entries.len() > ENTRIES {
        return Err(GptError::TooMany);
    }
    let mut table = Vec::with_capacity(ENTRIES * ENTRY_BYTES);
    for entry in entries {
        table.extend(guid(entry.kind)?);
        table.extend(guid(entry.uuid)?);
        table.extend((entry.start / SECTOR).to_le_bytes());
        table.extend(((entry.start + entry.size) / SECTOR - 1).to_le_bytes());
        table.extend([0; 8]);
        let mut label: Vec<u8> = entry.label.encode_utf16().flat_map(u16::to_le_bytes).collect();
        if label.len() > 72 {
            return Err(GptError::Label { label: entry.label.to_owned() });
        }
        label.resize(72, 0);
        table.extend(label);
    }
    table.resize(ENTRIES * ENTRY_BYTES, 0);
    Ok(table)
}

fn header(here: u64, other: u64, table_at: u64, sectors: u64, uuid: &[u8; 16], table: &[u8]) -> Vec<u8> {
    let mut header = b"EFI PART\0\0\x01\0\x5c\0\0\0".to_vec();
    header.extend([0; 8]);
    for word in [here, other, TABLE_SECTORS + 1, sectors - TABLE_SECTORS - 1] {
        header.extend(word.to_le_bytes());
    }
    header.extend(uuid);
    header.extend(table_at.to_le_bytes());
    for word in [ENTRIES as u32, ENTRY_BYTES as u32, crc32(table)] {
        header.extend(word.to_le_bytes());
    }
    let check = crc32(&header);
    header[16..20].copy_from_slice(&check.to_le_bytes());
    header.resize(SECTOR as usize, 0);
    header
}

fn protective(sectors: u64) -> Vec<u8> {
    let mut mbr = vec![0; SECTOR as usize];
    mbr[446..454].copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff]);
    mbr[454..458].copy_from_slice(&1u32.to_le_bytes());
    mbr[458..462].copy_from_slice(&u32::try_from(sectors - 1).unwrap_or(u32::MAX).to_le_bytes());
    mbr[510..].copy_from_slice(&[0x55, 0xaa]);
    mbr
}

/// The mixed-endian form GPT keeps GUIDs in.
fn guid(text: &str) -> Result<[u8; 16], GptError> {
    let refused = || GptError::Guid { text: text.to_owned() };
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    if groups != [8, 4, 4, 4, 12] || !text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-') {
        return Err(refused());
    }
    let hex: String = text.chars().filter(|character| *character != '-').collect();
    let mut bytes = u128::from_str_radix(&hex, 16).map_err(|_| refused())?.to_be_bytes();
    for (from, to) in [(0, 4), (4, 6), (6, 8)] {
        bytes[from..to].reverse();
    }
    Ok(bytes)
}

pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn crc_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn guids_are_mixed_endian() {
        let expected = [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];
        assert_eq!(guid("C12A7328-F81F-11D2-BA4B-00A0C93EC93B").unwrap(), expected);
        for text in [
            "",
            "C12A7328F81F11D2BA4B00A0C93EC93B",
            "C12A7328-F81F-11D2-BA4B-00A0C93EC93G",
            "+12A7328-F81F-11D2-BA4B-00A0C93EC93B",
        ] {
            assert!(matches!(guid(text), Err(GptError::Guid { .. })), "{text}");
        }
    }

    #[test]
    fn both_tables_check_and_agree() {
        let entry = Entry {
            label: "data",
            kind: "4D21B016-B534-45C2-A9FB-5C16E091FD2D",
            uuid: "A51A0000-0000-4000-8000-000000000006",
            start: ALIGN,
            size: ALIGN,
        };
        let size = disk_bytes(2 * ALIGN);
        let mut disk = Cursor::new(vec![0; usize::try_from(size).unwrap()]);
        write(&mut disk, size, "A51A0000-0000-4000-8000-000000000000", &[entry]).unwrap();
        let disk = disk.into_inner();
        assert_eq!(disk[510..512], [0x55, 0xaa]);
        for (header_at, table_at) in [(512, 1024), (disk.len() - 512, disk.len() - 33 * 512)] {
            let mut header = disk[header_at..header_at + 92].to_vec();
            let check = u32::from_le_bytes(header[16..20].try_into().unwrap());
            header[16..20].fill(0);
            assert_eq!(crc32(&header), check);
            let table = &disk[table_at..table_at + ENTRIES * ENTRY_BYTES];
            assert_eq!(crc32(table).to_le_bytes(), header[88..92]);
            assert_eq!(u64::from_le_bytes(header[72..80].try_into().unwrap()) * 512, table_at as u64);
        }
    }

    #[test]
    fn long_labels_are_refused() {
        let entry = Entry {
            label: &"x".repeat(37),
            kind: "4D21B016-B534-45C2-A9FB-5C16E091FD2D",
            uuid: "A51A0000-0000-4000-8000-000000000006",
            start: 0,
            size: ALIGN,
        };
        assert!(matches!(table(&[entry]), Err(GptError::Label { .. })));
    }
}
