//! Growing the last partition of a GPT disk to the end of the disk: decided from the table's bytes, written by the caller.
//!
//! A disk image is written to a larger disk; its backup table then stands in the middle and its data partition ends there. The plan moves the
//! backup to the end first, so a power cut at any point leaves one whole table. A table that does not check is left alone.

const SECTOR: u64 = 512;
const ENTRY_BYTES: u64 = 128;
const ENTRIES: u64 = 128;
/// Sectors of the entries.
const TABLE_SECTORS: u64 = ENTRIES * ENTRY_BYTES / SECTOR;
/// Growth below this is rounding, not a larger disk.
const GAIN_SECTORS_MIN: u64 = 2048;
/// Partitions end on whole MiB.
const ALIGN_SECTORS: u64 = 2048;

/// Why a table cannot be grown.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum GptError {
    #[error("the disk has no partition table of 128 entries")]
    Absent,
    #[error("the partition table's checksum is wrong")]
    Checksum,
    #[error("partition {number} is not the last one on the disk")]
    NotLast { number: u64 },
}

/// Where to write what, in this order, and the partition's new extent in sectors.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Growth {
    pub(crate) writes: Vec<(u64, Vec<u8>)>,
    pub(crate) first: u64,
    pub(crate) sectors: u64,
}

/// Bytes from the start of the disk that `plan` wants.
pub(crate) const HEAD_BYTES: usize = ((2 + TABLE_SECTORS) * SECTOR) as usize;

/// What to write so that partition `number` (from 1) reaches the end of a disk of `disk_sectors`; `None` when it does already.
pub(crate) fn plan(head: &[u8], disk_sectors: u64, number: u64) -> Result<Option<Growth>, GptError> {
    let header = head.get(512..604).ok_or(GptError::Absent)?;
    let table = head.get(1024..HEAD_BYTES).ok_or(GptError::Absent)?;
    let known =
        header.starts_with(b"EFI PART") && u64_at(header, 72) == 2 && u64_at(header, 80) == ENTRIES | ENTRY_BYTES << 32;
    if !known || !(1..=ENTRIES).contains(&number) {
        return Err(GptError::Absent);
    }
    let mut bare = header.to_vec();
    bare[16..20].fill(0);
    if crc32(&bare).to_le_bytes() != header[16..20] || crc32(table).to_le_bytes() != header[88..92] {
        return Err(GptError::Checksum);
    }
    let at = ((number - 1) * ENTRY_BYTES) as usize;
    let (first, last) = (u64_at(table, at + 32), u64_at(table, at + 40));
    let used = |entry: &&[u8]| entry[..16].iter().any(|byte| *byte != 0);
    if first == 0 || table.chunks_exact(ENTRY_BYTES as usize).filter(used).any(|entry| u64_at(entry, 40) > last) {
        return Err(GptError::NotLast { number });
    }
    let usable_end = disk_sectors.saturating_sub(TABLE_SECTORS + 1);
    let sectors = usable_end.saturating_sub(first) / ALIGN_SECTORS * ALIGN_SECTORS;
    if sectors < last + 1 - first + GAIN_SECTORS_MIN {
        return Ok(None);
    }
    let mut table = table.to_vec();
    table[at + 40..at + 48].copy_from_slice(&(first + sectors - 1).to_le_bytes());
    let renewed = |here: u64, other: u64, table_at: u64| {
        let mut header = bare.clone();
        for (place, word) in [(24, here), (32, other), (48, usable_end - 1), (72, table_at)] {
            header[place..place + 8].copy_from_slice(&word.to_le_bytes());
        }
        header[88..92].copy_from_slice(&crc32(&table).to_le_bytes());
        let check = crc32(&header);
        header[16..20].copy_from_slice(&check.to_le_bytes());
        header.resize(SECTOR as usize, 0);
        header
    };
    let writes = vec![
        (usable_end, table.clone()),
        (disk_sectors - 1, renewed(disk_sectors - 1, 1, usable_end)),
        (2, table.clone()),
        (1, renewed(1, disk_sectors - 1, 2)),
    ];
    Ok(Some(Growth { writes, first, sectors }))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|part| part.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: u64 = 40 * 2048;
    const NEW: u64 = 400 * 2048;

    fn head() -> Vec<u8> {
        let mut table = vec![0; HEAD_BYTES - 1024];
        for (at, first, last) in [(0, 2048u64, 4095u64), (128, 4096, OLD - 2049)] {
            table[at] = 1;
            table[at + 32..at + 40].copy_from_slice(&first.to_le_bytes());
            table[at + 40..at + 48].copy_from_slice(&last.to_le_bytes());
        }
        let mut header = b"EFI PART\0\0\x01\0\x5c\0\0\0".to_vec();
        header.resize(92, 0);
        header[72] = 2;
        header[80] = 128;
        header[84] = 128;
        header[88..92].copy_from_slice(&crc32(&table).to_le_bytes());
        let check = crc32(&header);
        header[16..20].copy_from_slice(&check.to_le_bytes());
        let mut head = vec![0; 512];
        head.extend(header);
        head.resize(1024, 0);
        head.extend(table);
        head
    }

    /// The head after the plan's writes.
    fn grown(head: &[u8], growth: &Growth) -> Vec<u8> {
        let mut head = head.to_vec();
        for (sector, bytes) in growth.writes.iter().filter(|(sector, _)| *sector < 34) {
            let at = (sector * SECTOR) as usize;
            head[at..at + bytes.len()].copy_from_slice(bytes);
        }
        head
    }

    #[test]
    fn the_last_partition_reaches_the_end() {
        let growth = plan(&head(), NEW, 2).unwrap().unwrap();
        assert_eq!(growth.first, 4096);
        assert_eq!(growth.first + growth.sectors, NEW - 2048);
    }

    #[test]
    fn the_result_checks_and_is_full() {
        let growth = plan(&head(), NEW, 2).unwrap().unwrap();
        assert_eq!(plan(&grown(&head(), &growth), NEW, 2), Ok(None));
    }

    #[test]
    fn the_backup_is_written_before_the_primary() {
        let growth = plan(&head(), NEW, 2).unwrap().unwrap();
        let order: Vec<u64> = growth.writes.iter().map(|(sector, _)| *sector).collect();
        assert_eq!(order, [NEW - 33, NEW - 1, 2, 1]);
    }

    #[test]
    fn a_full_disk_stays_as_it_is() {
        assert_eq!(plan(&head(), OLD, 2), Ok(None));
        assert_eq!(plan(&head(), 0, 2), Ok(None));
    }

    #[test]
    fn only_the_last_partition_grows() {
        assert_eq!(plan(&head(), NEW, 1), Err(GptError::NotLast { number: 1 }));
        assert_eq!(plan(&head(), NEW, 3), Err(GptError::NotLast { number: 3 }));
    }

    #[test]
    fn a_damaged_table_is_left_alone() {
        for (place, expected) in [
            (512, GptError::Absent),
            (520, GptError::Checksum),
            (1100, GptError::Checksum),
            (512 + 80, GptError::Absent),
        ] {
            let mut damaged = head();
            damaged[place] ^= 1;
            assert_eq!(plan(&damaged, NEW, 2), Err(expected), "byte {place}");
        }
        assert_eq!(plan(&head()[..600], NEW, 2), Err(GptError::Absent));
    }
}
