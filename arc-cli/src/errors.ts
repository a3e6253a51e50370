//! What can go wrong, as a person or a script has to see it.
//!
//! `UserError`: the person can fix it. `DeviceError`: the device refused, with its reason. Anything else is a bug and
//! shows its stack. Exit codes are those of docs/formats.md, chosen here and in `client/status.ts` alone.

/** Exit codes of arc. `exec` is the exception: it passes the program's own code through. */
export const Exit = {
  ok: 0,
  unexpected: 1,
  usage: 2,
  build: 3,
  denied: 4,
  notFound: 5,
  conflict: 6,
  unavailable: 7,
  approval: 8,
  toolFailed: 9,
  trust: 10,
  exhausted: 11,
  /** Only from `exec`: the program never ran. */
  neverRan: 125,
  interrupted: 130,
} as const;

export type ExitCode = (typeof Exit)[keyof typeof Exit];

/** A place in a source file; lines and columns count from 1. */
export interface Span {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly endLine?: number;
  readonly endColumn?: number;
}

export interface ErrorOptions {
  /** What to do about it, one sentence. */
  readonly hint?: string;
  /** Commands that can be pasted. */
  readonly fix?: readonly string[];
  /** Offline page; the default is `arc explain <code>`. */
  readonly docs?: string;
  readonly exit?: ExitCode;
  readonly span?: Span;
  /** A finished, already escaped block (a code frame) shown below the message. */
  readonly text?: string;
  /** Facts for scripts, in the JSON form only. */
  readonly details?: unknown;
  /** True when the same call may succeed later without a change. */
  readonly retryable?: boolean;
  readonly cause?: unknown;
}

/** The person can fix this. */
export class UserError extends Error {
  readonly code: string;
  readonly hint: string | undefined;
  readonly fix: readonly string[];
  readonly docs: string;
  readonly exit: ExitCode;
  readonly span: Span | undefined;
  readonly text: string | undefined;
  readonly details: unknown;
  readonly retryable: boolean;

  constructor(code: string, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "UserError";
    this.code = code;
    this.hint = options.hint;
    this.fix = options.fix ?? [];
    this.docs = options.docs ?? `arc explain ${code}`;
    this.exit = options.exit ?? Exit.usage;
    this.span = options.span;
    this.text = options.text;
    this.details = options.details;
    this.retryable = options.retryable ?? false;
  }
}

/** The device (or the way to it) said no; `code` is its reason, for example `TOOL_UNKNOWN`. */
export class DeviceError extends UserError {
  constructor(code: string, message: string, options: ErrorOptions & { readonly exit: ExitCode }) {
    super(code, message, options);
    this.name = "DeviceError";
  }
}

/** The `error` member of the JSON envelope. */
export interface ErrorJson {
  readonly code: string;
  readonly message: string;
  readonly hint: string | null;
  readonly fix: readonly string[];
  readonly docs: string | null;
  readonly retryable: boolean;
  readonly details: unknown;
  readonly span: Span | null;
}

/** The JSON form of any thrown value; a value that is no `UserError` is a bug in arc. */
export function errorJson(error: unknown): ErrorJson {
  if (error instanceof UserError) {
    const { code, message, hint, fix, docs, retryable, details, span } = error;
    return { code, message, hint: hint ?? null, fix, docs, retryable, details: details ?? null, span: span ?? null };
  }
  const message = error instanceof Error ? error.message : String(error);
  return { code: "BUG", message, hint: null, fix: [], docs: null, retryable: false, details: null, span: null };
}
