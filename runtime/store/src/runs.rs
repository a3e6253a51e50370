//! Runs: one row per invocation, from its begin to its end.

use aria_core::port::Usage;
use aria_core::{Digest, DigestError, InvocationId, UnixMs};
use rusqlite::{OptionalExtension, Row, params};

use crate::db::{Db, count, doing, int, lock};
use crate::{AuditEvent, BlobRef, Store, StoreError};

/// A run that begins.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// Its id.
    pub id: InvocationId,
    /// `<bundle>.<tool>`, or `exec:<script>`.
    pub tool: String,
    /// The bundle's identity.
    pub bundle: Option<Digest>,
    /// Who called.
    pub owner: String,
    /// When.
    pub started_at: UnixMs,
    /// Its input; `None` for a program.
    pub input: Option<BlobRef>,
}

/// How it ended.
#[derive(Clone, Debug)]
pub struct RunEnd {
    /// `Outcome::label`.
    pub outcome: String,
    /// One line, may be empty.
    pub message: String,
    /// What it used.
    pub usage: Usage,
    /// When.
    pub ended_at: UnixMs,
    /// Its answer; `None` unless a tool succeeded.
    pub output: Option<BlobRef>,
    /// Its audit row, in the same commit; `None`: it is counted in another one.
    pub audit: Option<AuditEvent>,
}

/// A run as kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RunRecord {
    /// Its id.
    pub id: InvocationId,
    /// `<bundle>.<tool>`, or `exec:<script>`.
    pub tool: String,
    /// The bundle's identity.
    pub bundle: Option<Digest>,
    /// Who called.
    pub owner: String,
    /// When it began.
    pub started_at: UnixMs,
    /// When it ended; `None` while it runs, and when it is `LOST`.
    pub ended_at: Option<UnixMs>,
    /// `Outcome::label`; empty while it runs; `LOST` when the daemon died meanwhile.
    pub outcome: String,
    /// One line.
    pub message: String,
    /// What it used.
    pub usage: Usage,
    /// Bytes of log that were not kept. More than zero: the log is truncated.
    pub log_dropped_bytes: u64,
    /// Its input; `None` for a program.
    pub input: Option<BlobRef>,
    /// Its answer; `None` unless a tool succeeded.
    pub output: Option<BlobRef>,
}

/// Which runs, newest first.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RunQuery {
    /// `<bundle>.<tool>` or `exec:<script>`; `<bundle>` for all its tools.
    pub tool: Option<String>,
    /// `Outcome::label`; empty for what runs; `failed` for what neither succeeded nor runs.
    pub outcome: Option<String>,
    /// Who called.
    pub owner: Option<String>,
    /// Begun at this time or later.
    pub since: Option<UnixMs>,
    /// Begun before the run with this number.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: usize,
}

impl Store {
    /// Writes the row of a run that begins; with too many rows the oldest ended ones go, with their logs.
    /// Survives `kill -9`; a power cut may lose it.
    pub fn begin_run(&self, run: &NewRun) -> Result<(), StoreError> {
        let mut db = lock(&self.inner.db);
        let sql = "INSERT INTO run (id, tool, bundle, owner, started_at, input_sha256, input_bytes)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let NewRun { id, tool, bundle, owner, started_at, input } = run;
        let bundle = bundle.map(|digest| digest.hex());
        let (input, input_bytes) = columns(input.as_ref());
        let values = params![id.as_str(), tool, bundle, owner, int(started_at.0), input, input_bytes];
        db.relaxed.execute(sql, values).map_err(doing("begin a run"))?;
        db.runs += 1;
        db.forget_runs(self.inner.config.runs_max)
    }

    /// Writes how a run ended, durably. A second end is refused as `RunUnknown`.
    pub fn end_run(&self, id: &InvocationId, end: &RunEnd) -> Result<(), StoreError> {
        let sql = "UPDATE run SET ended_at = ?2, outcome = ?3, message = ?4, wall_ms = ?5, cpu_ms = ?6,
            memory_peak_bytes = ?7, stdout_bytes = ?8, stderr_bytes = ?9, output_sha256 = ?10, output_bytes = ?11 WHERE id = ?1 AND outcome = ''";
        let Usage { wall_ms, cpu_ms, memory_peak_bytes, stdout_bytes, stderr_bytes } = end.usage;
        let (output, output_bytes) = columns(end.output.as_ref());
        let values = params![
            id.as_str(),
            int(end.ended_at.0),
            end.outcome,
            end.message,
            int(wall_ms),
            int(cpu_ms),
            int(memory_peak_bytes),
            int(stdout_bytes),
            int(stderr_bytes),
            output,
            output_bytes,
        ];
        lock(&self.inner.db).audited(true, &self.inner.config, |step| {
            match step.execute(sql, values).map_err(doing("end a run"))? {
                1 => Ok(((), end.audit.as_slice())),
                _ => Err(StoreError::RunUnknown(id.to_string())),
            }
        })
    }

    /// One run.
    pub fn run(&self, id: &InvocationId) -> Result<RunRecord, StoreError> {
        let reads = lock(&self.inner.reads);
        let found = reads.query_row("SELECT * FROM run WHERE id = ?1", [id.as_str()], record).optional();
        found.map_err(doing("look up a run"))?.ok_or_else(|| StoreError::RunUnknown(id.to_string()))?
    }

    /// Newest first, and the number to go on `before` when there are more.
    pub fn runs(&self, query: &RunQuery) -> Result<(Vec<RunRecord>, Option<u64>), StoreError> {
        let RunQuery { tool, outcome, owner, since, before, limit } = query;
        let reads = lock(&self.inner.reads);
        let sql = "SELECT * FROM run WHERE (?1 IS NULL OR tool = ?1 OR substr(tool, 1, length(?1) + 1) = ?1 || '.')
            AND (?2 IS NULL OR outcome = ?2 OR (?2 = 'failed' AND outcome NOT IN ('', 'succeeded')))
            AND (?3 IS NULL OR owner = ?3) AND (?4 IS NULL OR started_at >= ?4) AND (?5 IS NULL OR seq < ?5)
            ORDER BY seq DESC LIMIT ?6";
        let mut statement = reads.prepare_cached(sql).map_err(doing("list runs"))?;
        // One more than asked for tells whether there are more.
        let wanted = int((*limit as u64).saturating_add(1));
        let values = params![tool, outcome, owner, since.map(|time| int(time.0)), before.map(int), wanted];
        let numbered = |row: &Row<'_>| Ok((row.get("seq").map(count)?, record(row)?));
        let rows = statement.query_map(values, numbered).map_err(doing("list runs"))?;
        let found = rows.collect::<Result<Vec<_>, _>>().map_err(doing("list runs"))?;
        let next = if found.len() > *limit { found.get(limit.saturating_sub(1)).map(|(seq, _)| *seq) } else { None };
        let records = found.into_iter().take(*limit).map(|(_, record)| record).collect::<Result<_, _>>()?;
        Ok((records, next))
    }
}

/// A value's columns.
fn columns(value: Option<&BlobRef>) -> (Option<String>, Option<i64>) {
    value.map(|value| (value.sha256.hex(), int(value.size_bytes))).unzip()
}

impl Db {
    /// Drops the oldest ended runs until at most `runs_max` are left or all others still run.
    fn forget_runs(&mut self, runs_max: u64) -> Result<(), StoreError> {
        let oldest =
            "SELECT run.seq, log_head_bytes + log_tail_bytes FROM run WHERE outcome <> '' ORDER BY seq LIMIT 1";
        while self.runs > runs_max {
            let found = self.relaxed.query_row(oldest, [], |row| Ok((row.get(0)?, count(row.get(1)?)))).optional();
            let Some((seq, logs)): Option<(i64, u64)> = found.map_err(doing("find the oldest run"))? else { break };
            self.relaxed.execute("DELETE FROM run WHERE seq = ?1", [seq]).map_err(doing("drop an old run"))?;
            self.runs = self.runs.saturating_sub(1);
            self.logs_bytes = self.logs_bytes.saturating_sub(logs);
        }
        Ok(())
    }
}

fn record(row: &Row<'_>) -> rusqlite::Result<Result<RunRecord, StoreError>> {
    let (id, bundle): (String, Option<String>) = (row.get("id")?, row.get("bundle")?);
    let Ok(id) = InvocationId::parse(&id) else { return Ok(Err(StoreError::Corrupt { what: "run.id" })) };
    let Ok(bundle) = bundle.as_deref().map(Digest::from_hex).transpose() else {
        return Ok(Err(StoreError::Corrupt { what: "run.bundle" }));
    };
    let number = |column: &str| row.get(column).map(count);
    let (Ok(input), Ok(output)) =
        (value(row, "input_sha256", "input_bytes")?, value(row, "output_sha256", "output_bytes")?)
    else {
        return Ok(Err(StoreError::Corrupt { what: "run.input" }));
    };
    let ended_at: Option<i64> = row.get("ended_at")?;
    Ok(Ok(RunRecord {
        id,
        tool: row.get("tool")?,
        bundle,
        owner: row.get("owner")?,
        started_at: UnixMs(number("started_at")?),
        ended_at: ended_at.map(|time| UnixMs(count(time))),
        outcome: row.get("outcome")?,
        message: row.get("message")?,
        usage: Usage {
            wall_ms: number("wall_ms")?,
            cpu_ms: number("cpu_ms")?,
            memory_peak_bytes: number("memory_peak_bytes")?,
            stdout_bytes: number("stdout_bytes")?,
            stderr_bytes: number("stderr_bytes")?,
        },
        log_dropped_bytes: number("log_dropped_bytes")?,
        input,
        output,
    }))
}

fn value(row: &Row<'_>, sha256: &str, size: &str) -> rusqlite::Result<Result<Option<BlobRef>, DigestError>> {
    let (sha256, size): (Option<String>, Option<i64>) = (row.get(sha256)?, row.get(size)?);
    let Some((sha256, size)) = sha256.zip(size) else { return Ok(Ok(None)) };
    Ok(Digest::from_hex(&sha256).map(|sha256| Some(BlobRef { sha256, size_bytes: count(size) })))
}
