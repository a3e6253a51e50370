-- What went in and came out, by its hash: the values themselves are not kept.
ALTER TABLE run ADD COLUMN input_sha256 TEXT;
ALTER TABLE run ADD COLUMN input_bytes INTEGER;
ALTER TABLE run ADD COLUMN output_sha256 TEXT;
ALTER TABLE run ADD COLUMN output_bytes INTEGER;
