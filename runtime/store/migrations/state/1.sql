-- What tools keep. `owner` is the namespace: two owners' tables of one name have nothing in common.

CREATE TABLE kv_owner (
  owner TEXT PRIMARY KEY,
  bytes INTEGER NOT NULL,
  tables INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE kv_table (
  id INTEGER PRIMARY KEY,
  owner TEXT NOT NULL,
  name TEXT NOT NULL,
  -- Of the newest change; the next one has one more.
  version INTEGER NOT NULL DEFAULT 0,
  keys INTEGER NOT NULL DEFAULT 0,
  -- Everything kept, old values too.
  bytes INTEGER NOT NULL DEFAULT 0,
  -- Changes after this version are all kept.
  known_from INTEGER NOT NULL DEFAULT 0,
  old_bytes INTEGER NOT NULL DEFAULT 0,
  -- Highest fence that wrote with a right nobody shares, and with one that many have.
  sole_fence INTEGER NOT NULL DEFAULT 0,
  append_fence INTEGER NOT NULL DEFAULT 0,
  UNIQUE (owner, name)
) STRICT;

CREATE TABLE kv_row (
  tbl INTEGER NOT NULL REFERENCES kv_table (id),
  key TEXT NOT NULL,
  version INTEGER NOT NULL,
  fence INTEGER NOT NULL,
  PRIMARY KEY (tbl, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE kv_change (
  -- Table times 2^40 plus version, so that one table's changes lie beside each other in order.
  seq INTEGER PRIMARY KEY,
  key TEXT NOT NULL,
  -- NULL: the key was removed.
  value TEXT,
  current INTEGER NOT NULL
) STRICT;
