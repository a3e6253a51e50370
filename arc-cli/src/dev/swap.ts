//! One step of `arc dev`: the project as it is now → a bundle under a version of its own → on the device, callable.

import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { Code, ConnectError } from "@connectrpc/connect";

import { signBundle } from "../bundle/layout.ts";
import type { Device } from "../client/channel.ts";
import { deliverOver } from "../client/deliver.ts";
import { CALL_TIMEOUT_MS } from "../client/session.ts";
import type { Context } from "../command.ts";
import { buildCompiled, type Built } from "../compiler/build.ts";
import { compile, type Compiled, Memory } from "../compiler/compile.ts";
import type { Cached } from "../compiler/dependencies.ts";
import { CompileError } from "../compiler/diagnostics.ts";
import { toUserError } from "../compiler/report.ts";
import { readBeside } from "../compiler/session.ts";
import type { AuthorKey } from "../trust/keys.ts";
import { devTag, devVersion, isDev } from "./version.ts";

/** What a good build gave. */
export interface Made {
  readonly name: string;
  readonly version: string;
  readonly built: Built;
  readonly root: string;
  /** Same for the same sources, whatever the version. */
  readonly essence: string;
  readonly ms: { readonly check: number; readonly bundle: number };
}

/** The project and what is kept warm between its builds. */
export class Workshop {
  readonly #from: string;
  readonly #signer: AuthorKey | undefined;
  readonly #cached: Cached;
  #memory = new Memory();
  #name = "";
  /** Versions of ours that may be on the device. */
  #ours = new Set<string>();

  constructor(from: string, signer: AuthorKey | undefined, cached: Cached) {
    this.#from = from;
    this.#signer = signer;
    this.#cached = cached;
  }

  /** Forgets everything that was kept warm. */
  reset(): void {
    this.#memory = new Memory();
  }

  /** Reads, checks and bundles the project under a version above `installed`. Throws one `UserError` with every finding. */
  async make(installed: (name: string) => Promise<readonly string[]>): Promise<Made> {
    const start = performance.now();
    let compiled: Compiled | undefined;
    try {
      compiled = compile(this.#from, this.#cached, this.#memory);
      if (compiled.diagnostics.length > 0) throw new CompileError(compiled.diagnostics);
      const { facts, project } = compiled;
      const tag = devTag(project.root);
      const versions = await installed(facts.name);
      const version = devVersion(facts.version, versions, Date.now(), tag);
      this.#name = facts.name;
      for (const old of versions) if (isDev(old, tag)) this.#ours.add(old);
      const checked = performance.now();
      const built = await buildCompiled({ ...compiled, facts: { ...facts, version } });
      const { source } = built.bundle.manifest;
      const essence = `${source.digest} ${built.interfaceDigest} ${built.authorityDigest}`;
      return { name: facts.name, version, built, root: project.root, essence, ms: { check: checked - start, bundle: performance.now() - checked } };
    } catch (error) {
      throw toUserError(error, (file) => compiled?.read(file) ?? readBeside(this.#from, file));
    }
  }

  /** Installs what was made, then removes the versions of before; calls that run keep theirs until they end. */
  async swap(device: Device, { built, root, version }: Made, local: boolean, context: Context): Promise<void> {
    const bytes = this.#signer === undefined ? built.bytes : signBundle(built.bytes, this.#signer.privatePem);
    const before = [...this.#ours];
    // From here on it may be there, also when the upload is cut off before its answer.
    this.#ours.add(version);
    // What an author saves may touch more on a device of its own; elsewhere that waits for `arc upload --accept-authority`.
    await upload(device, root, bytes, local ? built.authorityDigest : "", context);
    await this.#remove(device, before, context.signal);
  }

  /** Whether something of ours may be on the device. */
  get present(): boolean {
    return this.#ours.size > 0;
  }

  /** Takes every version of ours off the device. */
  async leave(device: Device): Promise<string[]> {
    return await this.#remove(device, [...this.#ours], AbortSignal.timeout(CALL_TIMEOUT_MS));
  }

  async #remove(device: Device, versions: readonly string[], signal: AbortSignal): Promise<string[]> {
    const removed: string[] = [];
    for (const version of versions) {
      // One that cannot be removed now is not worth an error: the next save, or the next start, tries again.
      const done = await device.bundles.removeBundle({ name: this.#name, version }, { signal, timeoutMs: CALL_TIMEOUT_MS }).then(() => "removed", (error: unknown) => (ConnectError.from(error).code === Code.NotFound ? "absent" : "failed"));
      if (done !== "failed") this.#ours.delete(version);
      if (done === "removed") removed.push(version);
    }
    return removed;
  }
}

async function upload(device: Device, root: string, bytes: Uint8Array, acceptAuthority: string, context: Context): Promise<void> {
  mkdirSync(join(root, ".arc"), { recursive: true });
  const path = join(root, `.arc/dev.${process.pid}.aria`);
  writeFileSync(path, bytes);
  try {
    await deliverOver(device, path, context, { acceptAuthority, dryRun: false });
  } finally {
    rmSync(path, { force: true });
  }
}
