//! Brings planned changes into a directory: all of them or none.
//!
//! New files lie ready in a draft directory beside the old ones before anything is touched; then there are only renames, each
//! with its undo. An error undoes what was done. After a crash the draft directory holds every file that was replaced.

import { chmodSync, closeSync, copyFileSync, linkSync, lstatSync, mkdirSync, mkdtempSync, openSync, renameSync, rmdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { Exit, UserError } from "../errors.ts";
import { DRAFT_PREFIX } from "./directory.ts";
import type { Change } from "./plan.ts";
import { type Entry, hasContent, type Kind } from "./tree.ts";

const EXECUTE = 0o111;

/** New files on their way. Remove it whatever happens. */
export class Draft {
  readonly #dir: string;
  readonly #files = new Map<string, string>();
  readonly root: string;
  #old = 0;

  constructor(root: string) {
    this.root = root;
    this.#dir = doing(`write into ${root}`, () => mkdtempSync(join(root, DRAFT_PREFIX)));
    doing(`write into ${root}`, () => {
      mkdirSync(join(this.#dir, "old"));
      mkdirSync(join(this.#dir, "new"));
    });
  }

  /** Takes the content of a file that is to come to `entry.path`. */
  async take(entry: Entry, pieces: AsyncIterable<Uint8Array>): Promise<void> {
    const path = join(this.#dir, "new", String(this.#files.size));
    this.#files.set(entry.path, path);
    const fd = doing(`write into ${this.root}`, () => openSync(path, "wx", entry.kind === "program" ? 0o777 : 0o666));
    try {
      for await (const piece of pieces) doing(`write ${entry.path}`, () => writeFileSync(fd, piece));
    } finally {
      closeSync(fd);
    }
  }

  /** All changes or, with an error, none. The directory must be as it was when they were planned. */
  apply(changes: readonly Change[]): void {
    const undo: (() => void)[] = [];
    try {
      // Children before their directories.
      for (const change of [...changes].reverse()) this.#remove(change, undo);
      for (const change of changes) this.#put(change, undo);
    } catch (error) {
      for (const step of undo.reverse()) step();
      throw error;
    }
  }

  /** Its name in the directory. */
  get name(): string {
    return basename(this.#dir);
  }

  remove(): void {
    rmSync(this.#dir, { recursive: true, force: true });
  }

  /** Makes room: what stays a file is replaced later, in one step. */
  #remove({ path, before, after }: Change, undo: (() => void)[]): void {
    if (before === undefined || (isFile(before) && isFile(after)) || before === after) return;
    const place = join(this.root, path);
    if (before === "directory") {
      const { mode } = doing(`remove ${path}`, () => statSync(place));
      doing(`remove ${path}`, () => rmdirSync(place));
      undo.push(() => mkdirSync(place, { mode }));
    } else {
      const kept = this.#kept();
      doing(`remove ${path}`, () => renameSync(place, kept));
      undo.push(() => renameSync(kept, place));
    }
  }

  #put({ path, before, after }: Change, undo: (() => void)[]): void {
    if (after === undefined || (before === after && after === "directory")) return;
    const place = join(this.root, path);
    if (after === "directory") {
      doing(`make ${path}`, () => mkdirSync(place));
      undo.push(() => rmdirSync(place));
      return;
    }
    const draft = this.#files.get(path);
    if (draft === undefined) throw new Error(`no content for ${path}`);
    if (isFile(before)) {
      const { mode } = doing(`replace ${path}`, () => lstatSync(place));
      doing(`replace ${path}`, () => chmodSync(draft, executable(mode & 0o777, after)));
      const kept = this.#kept();
      doing(`replace ${path}`, () => keep(place, kept));
      doing(`replace ${path}`, () => renameSync(draft, place));
      undo.push(() => renameSync(kept, place));
    } else {
      doing(`make ${path}`, () => renameSync(draft, place));
      undo.push(() => renameSync(place, draft));
    }
  }

  #kept(): string {
    this.#old += 1;
    return join(this.#dir, "old", String(this.#old));
  }
}

const isFile = (kind: Kind | undefined): boolean => kind !== undefined && hasContent(kind);

/** Whoever may read a program may run it. */
const executable = (mode: number, kind: Kind): number => (kind === "program" ? mode | ((mode & 0o444) >> 2) : mode & ~EXECUTE);

/** A second name costs nothing; where there are none, a copy does it. */
function keep(place: string, kept: string): void {
  try {
    linkSync(place, kept);
  } catch {
    copyFileSync(place, kept);
  }
}

function doing<T>(what: string, act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw unwritable(what, error);
  }
}

const unwritable = (what: string, error: unknown): UserError =>
  new UserError("ARC2067", `pull: ${what}: ${(error as Error).message}; the directory is as it was`, { exit: Exit.unexpected, cause: error });
