-- The file a bundle came as: the same file again is known without its bytes. Empty: installed before this was noted.
ALTER TABLE bundle ADD COLUMN file_sha256 TEXT NOT NULL DEFAULT '';
-- Why it should not be used any more. Empty: nobody said so.
ALTER TABLE bundle ADD COLUMN deprecated TEXT NOT NULL DEFAULT '';

-- Which version calls of a bundle go to. Opening the store fills in what is missing.
CREATE TABLE active (
  name TEXT PRIMARY KEY,
  version TEXT NOT NULL,
  previous TEXT,
  pinned INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE bundle_tool (
  name TEXT NOT NULL,
  digest TEXT NOT NULL REFERENCES bundle (digest) ON DELETE CASCADE,
  PRIMARY KEY (name, digest)
) STRICT, WITHOUT ROWID;
INSERT OR IGNORE INTO bundle_tool (name, digest)
  SELECT json_extract(tool.value, '$.name'), digest FROM bundle, json_each(manifest_json, '$.tools') AS tool;

CREATE TABLE bundle_dependency (
  digest TEXT NOT NULL REFERENCES bundle (digest) ON DELETE CASCADE,
  name TEXT NOT NULL,
  range TEXT NOT NULL,
  PRIMARY KEY (digest, name)
) STRICT, WITHOUT ROWID;
