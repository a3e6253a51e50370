//! The shape of a zstd frame, read without decompressing: header rules, block borders, and that nothing follows.
//!
//! The library would accept skippable frames, several frames in a row and dictionaries; the format does not.

use std::io::{self, BufReader, Read, Seek};

use crate::error::{BundleError, Rule, refuse};

const MAGIC: u32 = 0xfd2f_b528;
const SKIPPABLE: std::ops::RangeInclusive<u32> = 0x184d_2a50..=0x184d_2a5f;
const BLOCK_BYTES_MAX: u64 = 128 << 10;
/// Read at once, so that many small blocks are not many system calls.
const PIECE_BYTES: usize = 64 << 10;

/// What the header declares.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Frame {
    /// Bytes after decompression.
    pub(crate) content_bytes: u64,
}

/// Walks the one frame that `file` must consist of; `size_bytes` is the file's length. Leaves the position anywhere.
pub(crate) fn scan<F: Read + Seek>(
    file: &mut F,
    size_bytes: u64,
    window_bytes_max: u64,
    label: &str,
) -> Result<Frame, BundleError> {
    let file = BufReader::with_capacity(PIECE_BYTES, file);
    let mut walk = Walk { file, at: 0, size_bytes, label };
    let (frame, window, checksum) = walk.header(window_bytes_max)?;
    walk.blocks(window)?;
    if checksum {
        walk.skip(4)?;
    }
    walk.nothing_more()?;
    Ok(frame)
}

struct Walk<'a, F> {
    file: BufReader<&'a mut F>,
    at: u64,
    size_bytes: u64,
    label: &'a str,
}

impl<F: Read + Seek> Walk<'_, F> {
    fn header(&mut self, window_bytes_max: u64) -> Result<(Frame, u64, bool), BundleError> {
        let magic = self.number(4)?;
        if magic != u64::from(MAGIC) {
            return Err(self.no(if is_skippable(magic) { "a skippable frame" } else { "no zstd frame" }));
        }
        let flags = self.number(1)?;
        if flags & 0b11 != 0 {
            return Err(self.no("the frame needs a dictionary"));
        }
        if flags & 0b1_1000 != 0 {
            return Err(self.no("a reserved bit of the frame header is set"));
        }
        let single_segment = flags & 0b10_0000 != 0;
        let window = if single_segment { None } else { Some(window_bytes(self.number(1)?)) };
        let content_bytes = match (flags >> 6, single_segment) {
            (0, false) => return Err(self.no("the frame does not declare its content size")),
            (0, true) => self.number(1)?,
            (1, _) => self.number(2)? + 256,
            (2, _) => self.number(4)?,
            _ => self.number(8)?,
        };
        let window = window.unwrap_or(content_bytes);
        if window > window_bytes_max {
            return Err(self.no(format!("a window of {window} bytes, limit is {window_bytes_max}")));
        }
        Ok((Frame { content_bytes }, window, flags & 0b100 != 0))
    }

    fn blocks(&mut self, window: u64) -> Result<(), BundleError> {
        loop {
            let header = self.number(3)?;
            let (last, kind, size) = (header & 1 == 1, header >> 1 & 0b11, header >> 3);
            if size > BLOCK_BYTES_MAX.min(window) {
                return Err(self.no("a block larger than the window or 128 KiB"));
            }
            if size == 0 && kind < 2 && !last {
                return Err(self.no("an empty block before the last"));
            }
            match kind {
                0 | 2 => self.skip(size)?,
                1 => self.skip(1)?,
                _ => return Err(self.no("a block of reserved type")),
            }
            if last {
                return Ok(());
            }
        }
    }

    fn nothing_more(&mut self) -> Result<(), BundleError> {
        let left = self.size_bytes - self.at;
        if left == 0 {
            return Ok(());
        }
        let magic = if left >= 4 { self.number(4)? } else { 0 };
        if magic == u64::from(MAGIC) || is_skippable(magic) {
            return Err(self.no("a second frame"));
        }
        Err(refuse(Rule::TrailingBytes, self.label, format!("{left} bytes after the frame")))
    }

    fn number(&mut self, bytes: usize) -> Result<u64, BundleError> {
        let mut value = [0; 8];
        self.room(bytes as u64)?;
        if let Some(into) = value.get_mut(..bytes) {
            self.file.read_exact(into).map_err(|source| self.io(source))?;
        }
        self.at += bytes as u64;
        Ok(u64::from_le_bytes(value))
    }

    fn skip(&mut self, bytes: u64) -> Result<(), BundleError> {
        self.room(bytes)?;
        self.at += bytes;
        // At most a block, so it fits.
        self.file.seek_relative(i64::try_from(bytes).unwrap_or(i64::MAX)).map_err(|source| self.io(source))
    }

    fn room(&self, bytes: u64) -> Result<(), BundleError> {
        if self.size_bytes - self.at < bytes {
            return Err(refuse(Rule::Truncated, self.label, "the frame ends before its last block"));
        }
        Ok(())
    }

    fn no(&self, detail: impl Into<String>) -> BundleError {
        refuse(Rule::ZstdFrame, self.label, detail)
    }

    fn io(&self, source: io::Error) -> BundleError {
        BundleError::Io { doing: "read staged layer", path: self.label.into(), source }
    }
}

fn is_skippable(magic: u64) -> bool {
    u32::try_from(magic).is_ok_and(|magic| SKIPPABLE.contains(&magic))
}

// RFC 8878, 3.1.1.1.2.
fn window_bytes(descriptor: u64) -> u64 {
    let base = 1u64 << (10 + (descriptor >> 3));
    base + base / 8 * (descriptor & 0b111)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[track_caller]
    fn check(bytes: &[u8], expected: Result<u64, Rule>) {
        let found = scan(&mut Cursor::new(bytes), bytes.len() as u64, 8 << 20, "layer");
        assert_eq!(found.map(|frame| frame.content_bytes).map_err(|error| error.rule().expect("a rule")), expected);
    }

    fn frame(content: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(content, 3).expect("compress")
    }

    #[test]
    fn one_plain_frame_is_accepted_and_its_size_known() {
        for size in [0, 1, 255, 256, 65_791, 65_792, 200_000, 1 << 20] {
            check(&frame(&vec![7; size]), Ok(size as u64));
        }
    }

    #[test]
    fn a_frame_cut_anywhere_is_refused() {
        let whole = frame(&(0..=255).cycle().take(3000).collect::<Vec<u8>>());
        for end in 0..whole.len() {
            check(&whole[..end], Err(Rule::Truncated));
        }
    }

    #[test]
    fn anything_after_the_frame_is_refused() {
        let one = frame(b"one");
        check(&[&one[..], &one].concat(), Err(Rule::ZstdFrame));
        check(&[&one[..], &[0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0]].concat(), Err(Rule::ZstdFrame));
        check(&[&one[..], &[0]].concat(), Err(Rule::TrailingBytes));
        check(&[&one[..], &[0; 600]].concat(), Err(Rule::TrailingBytes));
    }

    #[test]
    fn frames_outside_the_profile_are_refused() {
        let magic = MAGIC.to_le_bytes();
        let with = |rest: &[u8]| [&magic[..], rest].concat();
        check(&[0x5f, 0x2a, 0x4d, 0x18, 0, 0, 0, 0], Err(Rule::ZstdFrame));
        check(b"\x1f\x8b\x08\x00", Err(Rule::ZstdFrame));
        check(&with(&[0b0010_0001, 1, 0, 1, 0, 0]), Err(Rule::ZstdFrame));
        check(&with(&[0b0000_0000, 0x58, 1, 0, 0]), Err(Rule::ZstdFrame));
        check(&with(&[0b0010_1000, 0, 1, 0, 0]), Err(Rule::ZstdFrame));
        check(&with(&[0b0011_0000, 0, 1, 0, 0]), Err(Rule::ZstdFrame));
        // 16 MiB of window by descriptor, and by a single segment of that size.
        check(&with(&[0b1000_0000, 14 << 3, 1, 0, 0, 0, 1, 0, 0]), Err(Rule::ZstdFrame));
        check(&with(&[0b1010_0000, 0, 0, 0, 1, 1, 0, 0]), Err(Rule::ZstdFrame));
        // An empty raw block and an empty run before the last block; as the last they are fine.
        check(&with(&[0b0010_0000, 0, 0b000, 0, 0, 0b001, 0, 0]), Err(Rule::ZstdFrame));
        check(&with(&[0b0010_0000, 0, 0b010, 0, 0, 7, 0b001, 0, 0]), Err(Rule::ZstdFrame));
        check(&with(&[0b0010_0000, 0, 0b001, 0, 0]), Ok(0));
        // A block of reserved type, and one longer than the window.
        check(&with(&[0b0010_0000, 0, 0b111, 0, 0]), Err(Rule::ZstdFrame));
        check(&with(&[0b0010_0000, 1, 0b10_001, 0, 0, 1, 2]), Err(Rule::ZstdFrame));
    }

    /// Counts what would be system calls.
    struct Counting(Cursor<Vec<u8>>, usize);

    impl Read for Counting {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.1 += 1;
            self.0.read(into)
        }
    }

    impl Seek for Counting {
        fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
            self.1 += 1;
            self.0.seek(to)
        }
    }

    #[test]
    fn many_small_blocks_are_few_reads() {
        let blocks = 100_000u32;
        let mut bytes = [&MAGIC.to_le_bytes()[..], &[0b1010_0000], &blocks.to_le_bytes()].concat();
        for index in 1..=blocks {
            bytes.extend([u8::from(index == blocks) | 1 << 3, 0, 0, 7]);
        }
        let size_bytes = bytes.len() as u64;
        let mut file = Counting(Cursor::new(bytes), 0);
        assert_eq!(scan(&mut file, size_bytes, 8 << 20, "layer").expect("a frame").content_bytes, u64::from(blocks));
        assert!(file.1 < 20, "{}", file.1);
    }
}
