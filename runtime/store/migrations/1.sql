CREATE TABLE meta (
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE bundle (
  name TEXT NOT NULL,
  version TEXT NOT NULL,
  digest TEXT NOT NULL UNIQUE,
  interface_digest TEXT NOT NULL,
  authority_digest TEXT NOT NULL,
  size_bytes INTEGER NOT NULL,
  unpacked_bytes INTEGER NOT NULL,
  manifest_json TEXT NOT NULL,
  owner TEXT NOT NULL,
  installed_at INTEGER NOT NULL,
  PRIMARY KEY (name, version)
) STRICT;

CREATE TABLE blob (
  sha256 TEXT PRIMARY KEY,
  size_bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A blob is visible to those who proved that they have its bytes.
CREATE TABLE blob_owner (
  sha256 TEXT NOT NULL REFERENCES blob (sha256) ON DELETE CASCADE,
  owner TEXT NOT NULL,
  used_at INTEGER NOT NULL,
  PRIMARY KEY (sha256, owner)
) STRICT, WITHOUT ROWID;
CREATE INDEX blob_owner_by_use ON blob_owner (used_at);

CREATE TABLE credential (
  spki TEXT PRIMARY KEY,
  subject TEXT NOT NULL,
  role TEXT NOT NULL,
  added_at INTEGER NOT NULL,
  revoked_at INTEGER
) STRICT;

-- One-time rights that were used, and by which key.
CREATE TABLE used_right (
  name TEXT PRIMARY KEY,
  spki TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE run (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  tool TEXT NOT NULL,
  bundle TEXT,
  owner TEXT NOT NULL,
  started_at INTEGER NOT NULL,
  ended_at INTEGER,
  outcome TEXT NOT NULL DEFAULT '',
  message TEXT NOT NULL DEFAULT '',
  wall_ms INTEGER NOT NULL DEFAULT 0,
  cpu_ms INTEGER NOT NULL DEFAULT 0,
  memory_peak_bytes INTEGER NOT NULL DEFAULT 0,
  stdout_bytes INTEGER NOT NULL DEFAULT 0,
  stderr_bytes INTEGER NOT NULL DEFAULT 0,
  log_head_bytes INTEGER NOT NULL DEFAULT 0,
  log_tail_bytes INTEGER NOT NULL DEFAULT 0,
  log_dropped_bytes INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE log (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  run INTEGER NOT NULL REFERENCES run (seq) ON DELETE CASCADE,
  time INTEGER NOT NULL,
  source TEXT NOT NULL,
  level TEXT NOT NULL,
  text TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  tail INTEGER NOT NULL
) STRICT;
CREATE INDEX log_by_run ON log (run, tail, seq);
