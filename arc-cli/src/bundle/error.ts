//! Why bytes are not a bundle. One reason per rule of docs/formats.md, so that a test can name the rule that refused.

export type BundleReason =
  | "FORMAT_UNSUPPORTED"
  | "BUNDLE_TOO_LARGE"
  | "TOO_MANY_ENTRIES"
  | "ENTRY_TOO_LARGE"
  | "RATIO"
  | "TRUNCATED"
  | "TRAILING_BYTES"
  | "CHECKSUM"
  | "EXTENSION_HEADER"
  | "LINK"
  | "ENTRY_TYPE"
  | "MODE"
  | "PATH_ESCAPE"
  | "PATH_INVALID"
  | "PATH_TOO_LONG"
  | "DUPLICATE_PATH"
  | "PATH_COLLISION"
  | "ZSTD_FRAME"
  | "JSON_INVALID"
  | "LAYOUT_INVALID"
  | "MANIFEST_INVALID"
  | "SIGNATURE_INVALID"
  | "FILES_MISMATCH"
  | "DIGEST_MISMATCH";

/** A refusal of the bundle reader or writer. `reason` is stable, the message is for people. */
export class BundleError extends Error {
  override readonly name = "BundleError";
  readonly reason: BundleReason;

  constructor(reason: BundleReason, message: string) {
    super(message);
    this.reason = reason;
  }
}
