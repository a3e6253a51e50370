// What a case says about itself: exactly one line, last, `{"case":…,"escaped":…,"detail":…}`.
// `escaped` is null when the probes could not act at all, which the runner counts as a failure: a broken probe proves nothing.

import { closeSync, constants, openSync, readSync, readdirSync, writeSync } from "node:fs";
import { E, show } from "./_ffi.ts";

const DETAIL_CHARS_MAX = 1500;

export class Case {
  readonly #id: string;
  readonly #escapes: string[] = [];
  readonly #broken: string[] = [];
  #probes = 0;

  constructor(id: string) {
    this.#id = id;
  }

  /** Something that must work for the probes to mean anything. */
  able(what: string, works: boolean): void {
    if (!works) this.#broken.push(what);
  }

  /** One probe: `true` means the cage held. */
  held(what: string, holds: boolean, seen = ""): void {
    this.#probes += 1;
    if (!holds) this.#escapes.push(seen === "" ? what : `${what}: ${seen}`);
  }

  /** A raw call that must fail, with one of these errors when any are named. Returns whether it did. */
  refused(what: string, result: number, errors: readonly number[] = []): boolean {
    const holds = result < 0 && (errors.length === 0 || errors.includes(-result));
    this.held(what, holds, show(result));
    return holds;
  }

  /** A raw call the filter must answer itself; any other error means the kernel looked at the arguments. */
  filtered(what: string, result: number): boolean {
    return this.refused(what, result, [E.PERM, E.NOSYS]);
  }

  /** A function that must throw. */
  throws(what: string, run: () => unknown): void {
    let seen: unknown;
    try {
      seen = run();
    } catch {
      this.held(what, true);
      return;
    }
    this.held(what, false, `gave ${String(seen).slice(0, 80)}`);
  }

  async rejects(what: string, run: () => Promise<unknown>, withinMs = 5_000): Promise<void> {
    const late = Symbol("late");
    let timer: ReturnType<typeof setTimeout> | undefined;
    const timeout = new Promise<unknown>((resolve) => (timer = setTimeout(resolve, withinMs, late)));
    const result = await Promise.race([run().then((value) => ({ value }), () => null), timeout]);
    clearTimeout(timer);
    if (result === null) this.held(what, true);
    else this.held(what, false, result === late ? `no answer in ${withinMs} ms` : "succeeded");
  }

  get escapes(): number {
    return this.#escapes.length;
  }

  /** Prints the verdict and ends the process. */
  done(note = ""): never {
    const detail = [
      ...(this.#broken.length > 0 ? [`inconclusive, cannot: ${this.#broken.join("; ")}`] : []),
      ...(this.#escapes.length > 0 ? [`${this.#escapes.length} of ${this.#probes} not held: ${this.#escapes.slice(0, 24).join("; ")}`] : []),
      ...(this.#escapes.length === 0 ? [`${this.#probes} probes held`] : []),
      ...(note === "" ? [] : [note]),
    ].join(". ");
    const escaped = this.#escapes.length > 0 ? true : this.#broken.length > 0 || this.#probes === 0 ? null : false;
    say({ case: this.#id, escaped, detail: detail.slice(0, DETAIL_CHARS_MAX) });
    process.exit(0);
  }
}

/** Writes one JSON line to stdout, whole. */
export function say(line: Record<string, unknown>): void {
  writeAll(1, new TextEncoder().encode(JSON.stringify(line) + "\n"));
}

export function writeAll(fd: number, bytes: Uint8Array): void {
  let at = 0;
  while (at < bytes.length) {
    try {
      at += writeSync(fd, bytes, at);
    } catch (error) {
      if ((error as { code?: string }).code !== "EAGAIN") throw error;
      Bun.sleepSync(1);
    }
  }
}

const TEXT_BYTES_MAX = 1 << 20;

/** The first MiB of a file as Latin-1, or null. Bounded, since some files below /proc never end. */
export function readText(path: string): string | null {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch {
    return null;
  }
  try {
    const buffer = Buffer.alloc(TEXT_BYTES_MAX);
    let at = 0;
    for (let got = 1; got > 0 && at < buffer.length; at += got) got = readSync(fd, buffer, at, buffer.length - at, null);
    return buffer.toString("latin1", 0, at);
  } catch {
    return null;
  } finally {
    closeSync(fd);
  }
}

export function list(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

/** Network interfaces this process can see, from its own network namespace. */
export function interfaces(): string[] | null {
  const text = readText("/proc/self/net/dev");
  if (text === null) return null;
  return text.split("\n").slice(2).map((line) => line.split(":")[0]!.trim()).filter((name) => name !== "");
}
