//! What is kept of a run's output: whole lines, the first megabyte, and the last lines after that.
//!
//! A line costs its bytes plus what a row costs, so a flood of empty lines is bounded too. The live stream is not affected.

use std::collections::VecDeque;

use aria_core::UnixMs;
use aria_store::{LogEntry, LogSource};

use crate::event::OutputStream;

/// Cost of everything kept before the tail.
const HEAD_COST_MAX: usize = 1 << 20;
/// Cost of the tail.
const TAIL_COST_MAX: usize = 64 << 10;
/// Cost of a line besides its bytes.
const LINE_COST: usize = 64;
/// A longer line is kept in pieces of this length.
const LINE_BYTES_MAX: usize = 8 << 10;

/// Collects until [`LogBuffer::take`].
#[derive(Debug, Default)]
pub(crate) struct LogBuffer {
    ready: Vec<LogEntry>,
    head_cost: usize,
    tail: VecDeque<LogEntry>,
    tail_cost: usize,
    dropped_lines: u64,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl LogBuffer {
    /// Bytes the program wrote.
    pub(crate) fn output(&mut self, stream: OutputStream, bytes: &[u8], now: UnixMs) {
        let (mut partial, source) = match stream {
            OutputStream::Stdout => (std::mem::take(&mut self.stdout), LogSource::Stdout),
            OutputStream::Stderr => (std::mem::take(&mut self.stderr), LogSource::Stderr),
        };
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = LINE_BYTES_MAX - partial.len();
            let newline = rest.iter().take(room).position(|byte| *byte == b'\n');
            let taken = newline.unwrap_or(room.min(rest.len()));
            let (piece, after) = rest.split_at(taken);
            partial.extend_from_slice(piece);
            rest = if newline.is_some() { after.get(1..).unwrap_or_default() } else { after };
            if newline.is_some() || partial.len() == LINE_BYTES_MAX {
                self.keep(line(now, source, &partial));
                partial.clear();
            }
        }
        match stream {
            OutputStream::Stdout => self.stdout = partial,
            OutputStream::Stderr => self.stderr = partial,
        }
    }

    /// A line from the tool (`LogSource::Log`) or the device (`LogSource::Event`).
    pub(crate) fn say(&mut self, source: LogSource, level: &str, text: String, now: UnixMs) {
        self.keep(LogEntry { time: now, source, level: level.to_owned(), text });
    }

    /// What can be written now; nothing when nothing is new.
    pub(crate) fn take(&mut self) -> Vec<LogEntry> {
        std::mem::take(&mut self.ready)
    }

    /// Everything that is left, at the run's end: unfinished lines, a remark about what was not kept, the tail.
    pub(crate) fn finish(&mut self, now: UnixMs) -> Vec<LogEntry> {
        for (source, partial) in [
            (LogSource::Stdout, std::mem::take(&mut self.stdout)),
            (LogSource::Stderr, std::mem::take(&mut self.stderr)),
        ] {
            if !partial.is_empty() {
                self.keep(line(now, source, &partial));
            }
        }
        let mut entries = self.take();
        if self.dropped_lines > 0 {
            let text = format!("{} lines here were not kept", self.dropped_lines);
            entries.push(LogEntry { time: now, source: LogSource::Event, level: "warn".to_owned(), text });
        }
        entries.extend(self.tail.drain(..));
        entries
    }

    fn keep(&mut self, entry: LogEntry) {
        let cost = cost(&entry);
        if self.tail.is_empty() && self.head_cost + cost <= HEAD_COST_MAX {
            self.head_cost += cost;
            self.ready.push(entry);
            return;
        }
        self.tail_cost += cost;
        self.tail.push_back(entry);
        while self.tail_cost > TAIL_COST_MAX {
            let Some(oldest) = self.tail.pop_front() else { break };
            self.tail_cost -= self::cost(&oldest);
            self.dropped_lines += 1;
        }
    }
}

fn line(time: UnixMs, source: LogSource, bytes: &[u8]) -> LogEntry {
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    LogEntry { time, source, level: String::new(), text: String::from_utf8_lossy(bytes).into_owned() }
}

fn cost(entry: &LogEntry) -> usize {
    entry.text.len() + LINE_COST
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1);

    fn texts(entries: Vec<LogEntry>) -> Vec<String> {
        entries.into_iter().map(|entry| entry.text).collect()
    }

    #[test]
    fn lines_come_whole_however_they_were_cut() {
        let mut log = LogBuffer::default();
        let (first, second) = "hé\r\nlast".as_bytes().split_at(2);
        log.output(OutputStream::Stdout, first, NOW);
        log.output(OutputStream::Stdout, second, NOW);
        assert_eq!(texts(log.take()), ["hé"]);
        assert_eq!(texts(log.finish(NOW)), ["last"]);
        assert_eq!(texts(log.finish(NOW)), [""; 0]);
    }

    #[test]
    fn a_long_line_comes_in_pieces() {
        let mut log = LogBuffer::default();
        log.output(OutputStream::Stderr, &vec![b'a'; LINE_BYTES_MAX * 2 + 1], NOW);
        assert_eq!(log.take().len(), 2);
        assert_eq!(texts(log.finish(NOW)), ["a"]);
    }

    #[test]
    fn a_flood_keeps_its_beginning_and_its_end() {
        let mut log = LogBuffer::default();
        for n in 0..200_000 {
            log.output(OutputStream::Stdout, format!("{n}\n").as_bytes(), NOW);
        }
        let kept = texts(log.finish(NOW));
        assert_eq!(kept.first().unwrap(), "0");
        assert_eq!(kept.last().unwrap(), "199999");
        assert!(kept.iter().any(|text| text.ends_with("were not kept")));
        assert!(kept.len() * LINE_COST <= HEAD_COST_MAX + TAIL_COST_MAX + LINE_COST);
    }
}
