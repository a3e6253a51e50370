-- What was decided and done. A row is written once and leaves only when the oldest make room, which is a row of its own.
CREATE TABLE audit (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  at INTEGER NOT NULL,
  kind TEXT NOT NULL,
  -- 1: the ordinary course of things, of which there may be thousands a minute.
  routine INTEGER NOT NULL,
  owner TEXT NOT NULL,
  invocation TEXT NOT NULL,
  subject TEXT NOT NULL,
  reason TEXT NOT NULL,
  detail TEXT NOT NULL,
  bytes INTEGER NOT NULL
) STRICT;
