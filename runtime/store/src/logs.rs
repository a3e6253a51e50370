//! What runs wrote: the first mebibyte of each and its last words, all of them within one bound.

use aria_core::{InvocationId, UnixMs};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params, params_from_iter};

use crate::db::{Db, count, doing, int, lock};
use crate::open::Config;
use crate::{Store, StoreError};

/// Counted for each piece beside its text, so that empty lines are not free.
const PIECE_BYTES: u64 = 32;
const LIMIT_DEFAULT: usize = 1000;
const LIMIT_MAX: usize = 10_000;
/// One look ends with the piece that fills this, so that no reader makes the device hold a whole log.
const PAGE_BYTES: u64 = 256 << 10;
/// The pieces a query is about.
const ASKED: &str = "FROM log JOIN run ON log.run = run.seq
    WHERE (?1 IS NULL OR run.id = ?1) AND (?2 IS NULL OR run.tool = ?2) AND (?3 IS NULL OR run.owner = ?3)
    AND (?4 IS NULL OR time >= ?4) AND (?5 IS NULL OR log.seq > ?5)";

/// Where a line came from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogSource {
    /// Written to stdout.
    Stdout,
    /// Written to stderr.
    Stderr,
    /// Logged through the SDK.
    Log,
    /// Said by the device: started, ended.
    Event,
}

impl LogSource {
    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Log => "log",
            Self::Event => "event",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Stdout, Self::Stderr, Self::Log, Self::Event].into_iter().find(|source| source.as_str() == text)
    }
}

/// One piece of a run's log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogEntry {
    /// When.
    pub time: UnixMs,
    /// Where from.
    pub source: LogSource,
    /// `debug`, `info`, `warn`, `error`; empty for output.
    pub level: String,
    /// The text, as bytes came (lossy UTF-8). Readers escape it.
    pub text: String,
}

/// A kept piece.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredLog {
    /// Rises with every piece of all runs; for [`LogQuery::after`].
    pub seq: i64,
    /// Which run.
    pub invocation: InvocationId,
    /// Its tool.
    pub tool: String,
    /// Its owner.
    pub owner: String,
    /// The piece.
    pub entry: LogEntry,
}

/// Which pieces.
#[derive(Clone, Debug, Default)]
pub struct LogQuery {
    /// Of this run.
    pub invocation: Option<InvocationId>,
    /// Of this tool.
    pub tool: Option<String>,
    /// Of this owner.
    pub owner: Option<String>,
    /// At or after this moment.
    pub since: Option<UnixMs>,
    /// With a greater `seq`: following a log.
    pub after: Option<i64>,
    /// At most so many of the newest; with `after`, of the oldest. Zero is 1,000; at most 10,000.
    pub limit: usize,
}

/// What one look found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogPage {
    /// The pieces, oldest first.
    pub lines: Vec<StoredLog>,
    /// [`LogQuery::after`] of the next look.
    pub next: i64,
    /// The look ended before the log did.
    pub more: bool,
}

impl Store {
    /// Appends pieces in order, in one step. Beyond the head only the newest of the tail are kept. Survives `kill -9`.
    pub fn append_log(&self, id: &InvocationId, entries: &[LogEntry]) -> Result<(), StoreError> {
        let mut db = lock(&self.inner.db);
        let step = db.relaxed.transaction().map_err(doing("begin to log"))?;
        let mut run = Room::load(&step, id)?;
        let before = run.head + run.tail;
        for entry in entries {
            run.append(&step, entry, &self.inner.config)?;
        }
        run.save(&step)?;
        step.commit().map_err(doing("commit a log"))?;
        db.logs_bytes = db.logs_bytes.saturating_add(run.head + run.tail).saturating_sub(before);
        db.forget_logs(self.inner.config.logs_bytes_max)
    }

    /// One page of pieces: up to the limit, or until it has a quarter mebibyte.
    pub fn logs(&self, query: &LogQuery) -> Result<LogPage, StoreError> {
        let limit = if query.limit == 0 { LIMIT_DEFAULT } else { query.limit.min(LIMIT_MAX) };
        let reads = lock(&self.inner.reads);
        // Before the look: pieces are committed in the order of `seq`, so the look misses none up to here.
        let newest = reads.query_row("SELECT coalesce(max(seq), 0) FROM log", [], |row| row.get(0));
        let newest: i64 = newest.map_err(doing("find the newest log"))?;
        let after = match query.after {
            Some(after) => after,
            None => before_tail(&reads, query, limit)?.unwrap_or(newest),
        };
        let sql = format!(
            "SELECT log.seq AS seq, run.id AS id, run.tool AS tool, run.owner AS owner, time, source, level, text
            {ASKED} ORDER BY log.seq LIMIT ?6"
        );
        let mut statement = reads.prepare_cached(&sql).map_err(doing("read logs"))?;
        let rows = statement
            .query_map(params_from_iter(values(query, Some(after), limit)), stored)
            .map_err(doing("read logs"))?;
        let (mut lines, mut bytes) = (Vec::new(), 0);
        for row in rows {
            let line = row.map_err(doing("read logs"))??;
            let next = line.seq;
            bytes += line.entry.text.len() as u64 + PIECE_BYTES;
            lines.push(line);
            if lines.len() >= limit || bytes >= PAGE_BYTES {
                return Ok(LogPage { lines, next, more: true });
            }
        }
        // What was looked through and not asked for is not looked through again.
        let next = lines.last().map_or(after, |line| line.seq).max(newest);
        Ok(LogPage { lines, next, more: false })
    }
}

fn values(query: &LogQuery, after: Option<i64>, limit: usize) -> [Value; 6] {
    [
        query.invocation.as_ref().map(|id| id.as_str().to_owned()).into(),
        query.tool.clone().into(),
        query.owner.clone().into(),
        query.since.map(|time| int(time.0)).into(),
        after.into(),
        int(limit as u64).into(),
    ]
}

/// The place before the newest pieces of the query; `None` when there are none.
fn before_tail(reads: &Connection, query: &LogQuery, limit: usize) -> Result<Option<i64>, StoreError> {
    let sql = format!("SELECT min(seq) - 1 FROM (SELECT log.seq AS seq {ASKED} ORDER BY log.seq DESC LIMIT ?6)");
    let found = reads
        .prepare_cached(&sql)
        .and_then(|mut sql| sql.query_row(params_from_iter(values(query, None, limit)), |row| row.get(0)));
    found.map_err(doing("find the end of logs"))
}

/// What a run's log takes, while pieces are added.
struct Room {
    run: i64,
    head: u64,
    tail: u64,
    dropped: u64,
}

impl Room {
    fn load(step: &Transaction<'_>, id: &InvocationId) -> Result<Self, StoreError> {
        let sql = "SELECT seq, log_head_bytes, log_tail_bytes, log_dropped_bytes FROM run WHERE id = ?1";
        let room = |row: &Row<'_>| {
            let number = |column| row.get(column).map(count);
            Ok(Self { run: row.get(0)?, head: number(1)?, tail: number(2)?, dropped: number(3)? })
        };
        let found = step.query_row(sql, [id.as_str()], room).optional().map_err(doing("find the run of a log"))?;
        found.ok_or_else(|| StoreError::RunUnknown(id.to_string()))
    }

    fn save(&self, step: &Transaction<'_>) -> Result<(), StoreError> {
        let sql = "UPDATE run SET log_head_bytes = ?2, log_tail_bytes = ?3, log_dropped_bytes = ?4 WHERE seq = ?1";
        let values = params![self.run, int(self.head), int(self.tail), int(self.dropped)];
        step.execute(sql, values).map(drop).map_err(doing("count a log"))
    }

    fn append(&mut self, step: &Transaction<'_>, entry: &LogEntry, config: &Config) -> Result<(), StoreError> {
        let bytes = entry.text.len() as u64 + PIECE_BYTES;
        let head = self.tail == 0 && self.dropped == 0 && self.head + bytes <= config.log_head_bytes_max;
        if head {
            self.head += bytes;
            return self.insert(step, entry, &entry.text, bytes, false);
        }
        let text = last_bytes(&entry.text, config.log_tail_bytes_max.saturating_sub(PIECE_BYTES));
        self.dropped += (entry.text.len() - text.len()) as u64;
        self.tail += text.len() as u64 + PIECE_BYTES;
        self.insert(step, entry, text, text.len() as u64 + PIECE_BYTES, true)?;
        self.trim(step, config.log_tail_bytes_max)
    }

    fn insert(
        &self,
        step: &Transaction<'_>,
        entry: &LogEntry,
        text: &str,
        bytes: u64,
        tail: bool,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO log (run, time, source, level, text, bytes, tail) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let values = params![self.run, int(entry.time.0), entry.source.as_str(), entry.level, text, int(bytes), tail];
        let done = step.prepare_cached(sql).and_then(|mut statement| statement.execute(values));
        done.map(drop).map_err(doing("write a log"))
    }

    fn trim(&mut self, step: &Transaction<'_>, tail_bytes_max: u64) -> Result<(), StoreError> {
        let sql = "DELETE FROM log WHERE seq = (SELECT min(seq) FROM log WHERE run = ?1 AND tail = 1) RETURNING bytes";
        while self.tail > tail_bytes_max {
            let gone =
                step.prepare_cached(sql).and_then(|mut sql| sql.query_row([self.run], |row| row.get(0)).optional());
            let Some(bytes) = gone.map_err(doing("trim a log"))?.map(count) else { break };
            self.tail = self.tail.saturating_sub(bytes);
            self.dropped += bytes.saturating_sub(PIECE_BYTES);
        }
        Ok(())
    }
}

impl Db {
    /// Drops whole logs, oldest run first, until all fit. The rows of the runs stay and say that bytes are missing.
    fn forget_logs(&mut self, logs_bytes_max: u64) -> Result<(), StoreError> {
        let oldest = "SELECT seq FROM run WHERE log_head_bytes + log_tail_bytes > 0 ORDER BY outcome = '', seq LIMIT 1";
        while self.logs_bytes > logs_bytes_max {
            let step = self.relaxed.transaction().map_err(doing("begin to drop a log"))?;
            let Some(run) = step
                .query_row(oldest, [], |row| row.get::<_, i64>(0))
                .optional()
                .map_err(doing("find the oldest log"))?
            else {
                break;
            };
            let sql = "UPDATE run SET log_dropped_bytes = log_dropped_bytes + log_head_bytes + log_tail_bytes, log_head_bytes = 0,
                log_tail_bytes = 0 WHERE seq = ?1";
            step.execute(sql, [run]).map_err(doing("count a dropped log"))?;
            let left = "SELECT coalesce(sum(bytes), 0) FROM log WHERE run = ?1";
            let bytes = count(step.query_row(left, [run], |row| row.get(0)).map_err(doing("sum up a log"))?);
            step.execute("DELETE FROM log WHERE run = ?1", [run]).map_err(doing("drop a log"))?;
            step.commit().map_err(doing("commit dropping a log"))?;
            self.logs_bytes = self.logs_bytes.saturating_sub(bytes);
        }
        Ok(())
    }
}

/// The end of a text, at most so many bytes, from a character border.
fn last_bytes(text: &str, bytes_max: u64) -> &str {
    let keep = usize::try_from(bytes_max).unwrap_or(usize::MAX).min(text.len());
    let start = (text.len() - keep..=text.len()).find(|start| text.is_char_boundary(*start)).unwrap_or(text.len());
    text.get(start..).unwrap_or("")
}

fn stored(row: &Row<'_>) -> rusqlite::Result<Result<StoredLog, StoreError>> {
    let (id, source): (String, String) = (row.get("id")?, row.get("source")?);
    let Ok(invocation) = InvocationId::parse(&id) else { return Ok(Err(StoreError::Corrupt { what: "run.id" })) };
    let Some(source) = LogSource::parse(&source) else { return Ok(Err(StoreError::Corrupt { what: "log.source" })) };
    let time = UnixMs(count(row.get("time")?));
    let entry = LogEntry { time, source, level: row.get("level")?, text: row.get("text")? };
    Ok(Ok(StoredLog { seq: row.get("seq")?, invocation, tool: row.get("tool")?, owner: row.get("owner")?, entry }))
}
