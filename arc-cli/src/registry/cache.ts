//! Bundles that were fetched once, by their digest. What is in it is checked like anything else before it is used; a file that is not
//! what its name says is as good as absent.

import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { BundleError } from "../bundle/error.ts";
import { openBundle } from "../bundle/layout.ts";
import { limits } from "../bundle/limits.ts";
import { Exit, UserError } from "../errors.ts";
import type { Pulled } from "./shelf.ts";

type Env = Readonly<Record<string, string | undefined>>;

export class BundleCache {
  readonly #dir: string;

  constructor(env: Env) {
    const xdg = env["XDG_CACHE_HOME"];
    const base = xdg !== undefined && xdg.startsWith("/") ? xdg : join(env["HOME"] ?? homedir(), ".cache");
    this.#dir = join(base, "arc", "bundles");
  }

  get(digest: string): Pulled | undefined {
    const path = this.path(digest);
    if (!existsSync(path) || statSync(path).size > limits.fileBytes) return undefined;
    try {
      const bytes = new Uint8Array(readFileSync(path));
      const bundle = openBundle(bytes);
      return bundle.digest === digest ? { bundle, bytes } : undefined;
    } catch (error) {
      if (error instanceof BundleError) return undefined;
      throw error;
    }
  }

  put({ bundle, bytes }: Pulled): void {
    const path = this.path(bundle.digest);
    const draft = `${path}.${process.pid}`;
    try {
      mkdirSync(this.#dir, { recursive: true });
      writeFileSync(draft, bytes, { flag: "wx" });
      renameSync(draft, path);
    } catch (cause) {
      rmSync(draft, { force: true });
      throw new UserError("ARC2204", `write ${path}: ${(cause as Error).message}`, { exit: Exit.unexpected, cause });
    }
  }

  path(digest: string): string {
    return join(this.#dir, `${digest.slice("sha256:".length)}.aria`);
  }
}
