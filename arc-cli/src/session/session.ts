//! One `--session`: a directory goes to the device, and what a program changed in its copy comes back, if that is wanted.

import { createHash } from "node:crypto";
import { type Digest, putBlob } from "../client/blobs.ts";
import type { Device } from "../client/channel.ts";
import { DeviceError, errorJson, Exit, UserError } from "../errors.ts";
import { escapeLine } from "../escape.ts";
import type { SessionChanges } from "../gen/aria/v1/common_pb.ts";
import { bytesText } from "../table.ts";
import type { Ui } from "../ui.ts";
import { Draft } from "./apply.ts";
import { differences, snapshot, type Snapshot, treeOf } from "./directory.ts";
import { named, NAMED_MAX, pathLines, pathsOf, type Paths, planPull } from "./plan.ts";
import { readTree } from "./tree.ts";

/** Paths listed for people. */
const LINES_MAX = 50;

export interface SessionOptions {
  /** As the person named it. */
  readonly dir: string;
  readonly pull: boolean;
  readonly dryRun: boolean;
}

/** What became of a session. */
export interface SessionEnd {
  readonly counts: { readonly added: number; readonly changed: number; readonly deleted: number };
  /** Brought into the directory. */
  readonly pulled: boolean;
  /** Which paths; only when they were asked for. */
  readonly paths: Paths | undefined;
}

export class Session {
  readonly options: SessionOptions;
  readonly #before: Snapshot;

  private constructor(options: SessionOptions, before: Snapshot) {
    this.options = options;
    this.#before = before;
  }

  /** Reads the directory. */
  static async open(options: SessionOptions, signal: AbortSignal): Promise<Session> {
    return new Session(options, await snapshot(options.dir, signal));
  }

  /** Sends it, unless the device has exactly this already. */
  async put(device: Device, ui: Ui, signal: AbortSignal): Promise<{ tree: Digest; collect: boolean }> {
    const { sha256, sizeBytes } = this.#before;
    const bar = ui.progress(this.options.dir, Number(sizeBytes), bytesText);
    await putBlob(device, this.#before, () => treeOf(this.#before, signal), bar, signal).finally(() => bar.end());
    return { tree: { sha256, sizeBytes }, collect: this.options.pull };
  }

  /** Brings the changes back, if they are wanted and there are some. */
  async finish(device: Device, changes: SessionChanges, signal: AbortSignal): Promise<SessionEnd> {
    const { added, changed, deleted, changes: blob } = changes;
    const counts = { added, changed, deleted };
    if (!this.options.pull) return { counts, pulled: false, paths: undefined };
    if (blob === undefined) {
      if (added + changed + deleted > 0) throw new DeviceError("ARC3010", "the device kept no changes to pull", { exit: Exit.unexpected });
      return { counts, pulled: true, paths: pathsOf([]) };
    }
    const paths = await this.#pull(device, { sha256: blob.sha256, sizeBytes: blob.sizeBytes }, signal);
    return { counts, pulled: !this.options.dryRun, paths };
  }

  async #pull(device: Device, blob: Digest, signal: AbortSignal): Promise<Paths> {
    const draft = new Draft(this.#before.root);
    try {
      const entries = await readTree(checked(device, blob, signal), (entry, pieces) => draft.take(entry, pieces));
      const planned = planPull(this.#before.entries, entries);
      await this.#unchanged(draft, signal);
      if (!this.options.dryRun) draft.apply(planned);
      return pathsOf(planned);
    } finally {
      draft.remove();
    }
  }

  /** What somebody else did to the directory meanwhile must not be lost. */
  async #unchanged(draft: Draft, signal: AbortSignal): Promise<void> {
    const now = await snapshot(this.#before.root, signal, draft.name);
    const differing = differences(this.#before, now);
    if (differing.length === 0) return;
    throw new UserError("ARC2064", `${this.options.dir} changed while the program ran: ${named(differing)}; nothing was pulled`, {
      exit: Exit.conflict,
      hint: "run it again from the directory as it is now",
      details: { paths: differing.slice(0, NAMED_MAX) },
    });
  }
}

/** The bytes of the changes; the last piece comes only when all of them have the digest. */
async function* checked(device: Device, { sha256, sizeBytes }: Digest, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const hash = createHash("sha256");
  let bytes = 0n;
  for await (const { chunk } of device.blobs.getBlob({ sha256 }, { signal })) {
    bytes += BigInt(chunk.length);
    if (bytes > sizeBytes) break;
    hash.update(chunk);
    yield chunk;
  }
  if (bytes !== sizeBytes || hash.digest("hex") !== sha256) throw new DeviceError("DIGEST_MISMATCH", "the device sent other bytes than the changes have; nothing was pulled", { exit: Exit.conflict });
}

/** What people are told. */
export function sessionText(end: SessionEnd, { dir, pull, dryRun }: SessionOptions): string[] {
  const { added, changed, deleted } = end.counts;
  const sum = `${added} added, ${changed} changed, ${deleted} deleted`;
  if (added + changed + deleted === 0) return pull ? ["nothing changed in the session"] : [];
  if (!pull) return [`${sum} in the session, all of it dropped; --pull brings it into ${escapeLine(dir)}`];
  const lines = pathLines(end.paths ?? pathsOf([]));
  const shown = lines.length > LINES_MAX ? [...lines.slice(0, LINES_MAX), `… and ${lines.length - LINES_MAX} more`] : lines;
  return [...shown, dryRun ? `${sum}; a dry run: ${escapeLine(dir)} is as it was` : `pulled into ${escapeLine(dir)}: ${sum}`];
}

/** The member `session` of the outcome. */
export function sessionJson(end: SessionEnd | undefined, error: unknown): Record<string, unknown> | null {
  if (end === undefined) return error === undefined ? null : { pulled: false, error: errorJson(error) };
  return { ...end.counts, pulled: end.pulled, paths: end.paths ?? null };
}
