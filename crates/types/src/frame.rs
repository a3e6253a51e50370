//! Framing on the guest door, for everybody who holds an end of it: a length of four bytes, little endian, then that many bytes. What is in a frame is not ours.

use std::collections::VecDeque;

/// Longest frame in either direction.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

/// The program announced a frame longer than [`FRAME_BYTES_MAX`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a guest frame of {bytes} bytes is longer than {FRAME_BYTES_MAX}")]
pub struct FrameTooLarge {
    /// As announced.
    pub bytes: usize,
}

/// Cuts a byte stream into frames. Holds at most one unfinished frame and what came with one read after it.
#[derive(Debug, Default)]
pub struct FrameReader {
    rest: Vec<u8>,
    frames: VecDeque<Vec<u8>>,
}

impl FrameReader {
    /// Takes the next bytes. After an error the stream has no meaning any more.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), FrameTooLarge> {
        self.rest.extend_from_slice(bytes);
        let mut used = 0;
        while let Some(header) = self.rest.get(used..used + 4) {
            let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
            if length > FRAME_BYTES_MAX {
                return Err(FrameTooLarge { bytes: length });
            }
            let Some(frame) = self.rest.get(used + 4..used + 4 + length) else { break };
            self.frames.push_back(frame.to_vec());
            used += 4 + length;
        }
        self.rest.drain(..used);
        Ok(())
    }

    /// The next complete frame.
    pub fn pop(&mut self) -> Option<Vec<u8>> {
        self.frames.pop_front()
    }

    /// Whether one is complete.
    pub fn has_frame(&self) -> bool {
        !self.frames.is_empty()
    }

    /// Bytes of a frame that is not complete.
    pub fn unfinished_bytes(&self) -> usize {
        self.rest.len()
    }
}

/// Length and frame in one piece, as they go into the door.
pub fn encode(frame: &[u8]) -> Vec<u8> {
    // Callers hold frames to FRAME_BYTES_MAX, so the length always fits.
    let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    [length.to_le_bytes().as_slice(), frame].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(reader: &mut FrameReader) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| reader.pop()).collect()
    }

    #[test]
    fn frames_come_out_as_they_went_in_whatever_the_cuts() {
        let frames = [b"one".to_vec(), Vec::new(), vec![7; 70_000], b"last".to_vec()];
        let bytes: Vec<u8> = frames.iter().flat_map(|frame| encode(frame)).collect();
        for piece in [1, 2, 3, 5, 4096, bytes.len()] {
            let mut reader = FrameReader::default();
            bytes.chunks(piece).for_each(|chunk| reader.push(chunk).unwrap());
            assert_eq!(all(&mut reader), frames);
            assert_eq!(reader.unfinished_bytes(), 0);
        }
    }

    #[test]
    fn the_longest_frame_passes_and_one_more_byte_is_refused_at_its_header() {
        let mut reader = FrameReader::default();
        reader.push(&encode(&vec![1; FRAME_BYTES_MAX])).unwrap();
        assert_eq!(reader.pop().unwrap().len(), FRAME_BYTES_MAX);
        let header = u32::try_from(FRAME_BYTES_MAX + 1).unwrap().to_le_bytes();
        assert_eq!(reader.push(&header), Err(FrameTooLarge { bytes: FRAME_BYTES_MAX + 1 }));
    }

    #[test]
    fn text_without_framing_is_an_error_not_an_allocation() {
        let mut reader = FrameReader::default();
        assert!(reader.push(b"{\"result\":1}").is_err());
    }

    #[test]
    fn frames_before_a_bad_header_are_kept() {
        let mut reader = FrameReader::default();
        let bytes = [encode(b"good"), vec![0xff; 8]].concat();
        assert!(reader.push(&bytes).is_err());
        assert_eq!(all(&mut reader), [b"good".to_vec()]);
    }

    #[test]
    fn a_cut_frame_is_counted() {
        let mut reader = FrameReader::default();
        reader.push(&encode(b"hello")[..6]).unwrap();
        assert_eq!((reader.has_frame(), reader.unfinished_bytes()), (false, 6));
    }
}
