//! Text of an option → value. Each throws an `Error` with one clause that says what the text must be.

const BYTES: Readonly<Record<string, number>> = { "": 1, b: 1, k: 1024, ki: 1024, kib: 1024, kb: 1e3, m: 1024 ** 2, mi: 1024 ** 2, mib: 1024 ** 2, mb: 1e6, g: 1024 ** 3, gi: 1024 ** 3, gib: 1024 ** 3, gb: 1e9 };
const MILLISECONDS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, min: 60_000, h: 3_600_000, d: 86_400_000 };

/** `256M`, `1.5GiB`, `65536`; K, M, G are powers of 1024. At least 1. */
export function bytes(text: string): bigint {
  const match = /^([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([a-z]{0,3})$/i.exec(text);
  const unit = match === null ? undefined : BYTES[(match[2] ?? "").toLowerCase()];
  const value = unit === undefined ? Number.NaN : Math.round(Number(match?.[1]) * unit);
  if (!Number.isSafeInteger(value) || value < 1) throw new Error("must be a size such as 256M or 1GiB");
  return BigInt(value);
}

/** `500ms`, `10s`, `2m`, `1h` → milliseconds, at least 1. */
export function duration(text: string): bigint {
  const match = /^([0-9]{1,12}(?:\.[0-9]{1,6})?) ?(ms|s|m|min|h|d)$/.exec(text);
  const value = match === null ? Number.NaN : Math.round(Number(match[1]) * (MILLISECONDS[match[2] ?? ""] ?? Number.NaN));
  if (!Number.isSafeInteger(value) || value < 1) throw new Error("must be a time such as 500ms, 10s or 2m");
  return BigInt(value);
}

/** `0.5`, `2` (cores) or `500m` → thousandths of a core, at least 1. */
export function cores(text: string): number {
  const milli = /^([0-9]{1,6})m$/.exec(text);
  const whole = /^[0-9]{1,3}(\.[0-9]{1,3})?$/.test(text);
  const value = milli !== null ? Number(milli[1]) : whole ? Math.round(Number(text) * 1000) : 0;
  if (value < 1) throw new Error("must be a number of cores such as 0.5, 2 or 500m");
  return value;
}

/** A whole number of at least 1 that fits 32 bits. */
export function count(text: string): number {
  const value = /^[0-9]{1,10}$/.test(text) ? Number(text) : 0;
  if (value < 1 || value > 0xffff_ffff) throw new Error("must be a whole number of at least 1");
  return value;
}

export interface Pair {
  readonly name: string;
  readonly value: string;
}

/** `NAME=VALUE` of an environment variable; the value may hold further `=`. */
export function variable(text: string): Pair {
  const found = pair(text);
  if (found === undefined || !/^[A-Za-z_][A-Za-z0-9_]*$/.test(found.name)) throw new Error("must be NAME=VALUE with a name of letters, digits and `_`");
  if (found.value.includes("\0")) throw new Error("must not hold a NUL byte");
  return found;
}

/** `NAME=PATH`; a name without slash, 1 to 255 bytes. */
export function fileArgument(text: string): Pair {
  const found = pair(text);
  if (found === undefined || !fileNameIsValid(found.name) || found.value === "") throw new Error("must be NAME=PATH with a plain file name");
  return found;
}

/** A name that is one path segment and nothing else. */
export function fileNameIsValid(name: string): boolean {
  const length = Buffer.byteLength(name);
  return length >= 1 && length <= 255 && name !== "." && name !== ".." && !/[/\\\u0000-\u001f\u007f-\u009f]/.test(name);
}

/** A duration back from now, or an RFC 3339 time; the result is RFC 3339 in UTC. */
export function since(text: string, now: number): string {
  if (/^[0-9.]+ ?(ms|s|m|min|h|d)$/.test(text)) return new Date(now - Number(duration(text))).toISOString();
  const time = /^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?$/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(time)) throw new Error("must be a time ago such as 10m, or a time such as 2026-11-20T17:00:00Z");
  return new Date(time).toISOString();
}

/** A digest as arc and devices print it: `sha256:` and 64 lower-case hex digits. */
export function sha256Digest(text: string): string {
  if (!/^sha256:[0-9a-f]{64}$/.test(text)) throw new Error("must be sha256: and 64 lower-case hex digits");
  return text;
}

/** An RFC 3339 time, or the beginning of a day in UTC; the result is RFC 3339 in UTC. */
export function endOfTime(text: string): string {
  const time = /^\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d))?$/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(time)) throw new Error("must be a date such as 2027-01-01, or a time such as 2027-01-01T12:00:00Z");
  return new Date(time).toISOString();
}

function pair(text: string): Pair | undefined {
  const at = text.indexOf("=");
  return at < 1 ? undefined : { name: text.slice(0, at), value: text.slice(at + 1) };
}
