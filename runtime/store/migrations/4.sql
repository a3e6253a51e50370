-- Keys that vouch for bundles. A revoked one stays, so that it is never trusted again.
CREATE TABLE signer (
  key_id TEXT PRIMARY KEY,
  -- Whom it speaks for. Several keys may speak for one.
  publisher TEXT NOT NULL,
  -- DER SubjectPublicKeyInfo.
  public_key BLOB NOT NULL,
  trusted_at INTEGER NOT NULL,
  trusted_by TEXT NOT NULL,
  expires_at INTEGER,
  revoked_at INTEGER
) STRICT, WITHOUT ROWID;

-- The key that vouched when the bundle came; NULL: it came before devices asked.
ALTER TABLE bundle ADD COLUMN signer TEXT REFERENCES signer (key_id);

-- Every name that ever had a bundle: whose it is, and the highest version.
CREATE TABLE bundle_seen (
  name TEXT PRIMARY KEY,
  publisher TEXT NOT NULL,
  version TEXT NOT NULL,
  seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Authority that somebody accepted though the installed version had less.
CREATE TABLE authority_grant (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  publisher TEXT NOT NULL,
  name TEXT NOT NULL,
  interface_digest TEXT NOT NULL,
  authority_digest TEXT NOT NULL,
  granted_by TEXT NOT NULL,
  granted_at INTEGER NOT NULL,
  UNIQUE (publisher, name, interface_digest, authority_digest)
) STRICT;

-- The certificate's end, Unix milliseconds; 0: from before this was kept.
ALTER TABLE credential ADD COLUMN expires_at INTEGER NOT NULL DEFAULT 0;
