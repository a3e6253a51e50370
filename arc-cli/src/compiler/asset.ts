//! Files beside the code: WebAssembly, data, models. They travel in `code/assets/` under the hash of their content, and
//! the code that names them is pointed there.
//!
//! Three ways of naming are understood: `import path from "./x.wasm"`, `new URL("./x.wasm", import.meta.url)`, and
//! `join(__dirname, "x.wasm")` in its usual spellings. Code that builds the name at run time finds files that lie
//! directly beside it, because those are copied beside the entry under their own name.

import { existsSync, readFileSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";

import { sha256Hex } from "../bundle/digest.ts";

/** Files whose import gives their text, beside `.txt`. `sdk/src/assets.d.ts` has their types. */
export const TEXTS = ["md", "sql", "graphql", "gql", "xml", "tsv", "ini", "hbs", "mustache", "tmpl", "prompt"] as const;

/** What the bundler loads as code or data by itself. Everything else is an asset. */
export const ASSET_IMPORT = new RegExp(`\\.(?!(?:[cm]?[jt]sx?|json|jsonc|json5|toml|yaml|yml|txt|css|html|node|${TEXTS.join("|")})$)[A-Za-z0-9]+$`);
const CODE = /\.[cm]?[jt]sx?$/;
const URL_CALL = /new\s+URL\(\s*(["'`])(\.{0,2}\/?[^"'`$\n]+)\1\s*,\s*import\.meta\.url\s*\)/g;
const JOIN_CALL = /((?:__dirname|import\.meta\.(?:dirname|dir))\s*(?:,|\+)\s*)(["'`])(\/?[^"'`$\n]+\.[A-Za-z0-9]+)\2/g;
const NAMED_FILE = /["'`]([A-Za-z0-9_.-]+\.(?:wasm|bin|data|dat))["'`]/g;

/** The assets of one build, by their path below `code/`. */
export class Assets {
  readonly files = new Map<string, Uint8Array>();
  /** Absolute paths of the files that were read. */
  readonly read = new Set<string>();
  /** What the author's own code names and what is not there. */
  readonly missing: { readonly file: string; readonly name: string; readonly why: string }[] = [];

  /** Adds a file under the hash of its content; returns its path below `code/`. */
  add(path: string): string {
    const bytes = this.#bytes(path);
    const name = `assets/${sha256Hex(bytes).slice(0, 12)}-${basename(path).replace(/[^A-Za-z0-9._-]/g, "_")}`;
    this.files.set(name, bytes);
    return name;
  }

  /** The module that stands for an imported asset: its path at run time. */
  module(path: string): string {
    return `export default ${this.#atRunTime(this.add(path))};`;
  }

  /** Points the names of files in one module at their assets. Nothing to do gives `undefined`. */
  rewrite(path: string, code: string, own: boolean): string | undefined {
    if (!/__dirname|import\.meta\.(?:url|dirname|dir)/.test(code)) return undefined;
    const directory = dirname(path);
    let changed = code.replace(URL_CALL, (call: string, _quote: string, name: string) => {
      const found = this.#find(path, directory, name, own);
      return found === undefined ? call : `new URL(${JSON.stringify(`./${this.add(found)}`)}, import.meta.url)`;
    });
    changed = changed.replace(JOIN_CALL, (call: string, head: string, _quote: string, name: string) => {
      const found = this.#find(path, directory, name.replace(/^\//, ""), own);
      return found === undefined ? call : `${head}${JSON.stringify(`${name.startsWith("/") ? "/" : ""}${this.add(found)}`)}`;
    });
    this.#copyNamed(directory, code);
    return changed === code ? undefined : changed;
  }

  #find(module: string, directory: string, name: string, own: boolean): string | undefined {
    const path = resolve(directory, name);
    if (CODE.test(path)) {
      if (own && existsSync(path)) this.missing.push({ file: module, name, why: "is code; import it instead, a tool has one module" });
      return undefined;
    }
    if (isFile(path)) return path;
    if (own) this.missing.push({ file: module, name, why: "does not exist" });
    return undefined;
  }

  /** Loaders made by compilers join the name at run time; their file lies beside the module and is called so in it. */
  #copyNamed(directory: string, code: string): void {
    for (const [, name = ""] of code.matchAll(NAMED_FILE)) {
      const path = join(directory, name);
      if (isFile(path)) this.files.set(name, this.#bytes(path));
    }
  }

  #bytes(path: string): Uint8Array {
    this.read.add(path);
    return new Uint8Array(readFileSync(path));
  }

  #atRunTime(name: string): string {
    return `import.meta.dirname + ${JSON.stringify(`/${name}`)}`;
  }
}

function isFile(path: string): boolean {
  return existsSync(path) && statSync(path).isFile();
}
