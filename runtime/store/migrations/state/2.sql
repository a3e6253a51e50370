CREATE TABLE vector_collection (
  id INTEGER PRIMARY KEY,
  owner TEXT NOT NULL,
  name TEXT NOT NULL,
  dimensions INTEGER NOT NULL,
  items INTEGER NOT NULL DEFAULT 0,
  bytes INTEGER NOT NULL DEFAULT 0,
  sole_fence INTEGER NOT NULL DEFAULT 0,
  append_fence INTEGER NOT NULL DEFAULT 0,
  UNIQUE (owner, name)
) STRICT;

CREATE TABLE vector_item (
  seq INTEGER PRIMARY KEY,
  collection INTEGER NOT NULL REFERENCES vector_collection (id),
  id TEXT NOT NULL,
  -- 32-bit floats, little endian.
  vector BLOB NOT NULL,
  metadata TEXT NOT NULL,
  fence INTEGER NOT NULL,
  UNIQUE (collection, id)
) STRICT;
