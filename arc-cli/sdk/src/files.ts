//! Files that came with the call and files that go back with the answer.

import { existsSync } from "node:fs";

const IN = "/in";
const OUT = "/out";

function place(directory: string, name: string): string {
  if (name === "" || name === "." || name === ".." || /[/\\\0]/.test(name)) {
    throw new RangeError(`a file name has no path in it, got ${JSON.stringify(name)}`);
  }
  return `${directory}/${name}`;
}

/** Files given to the call (`arc invoke --file name=path`), read-only. */
export const files: {
  /** The path of a file, for APIs that take one. Throws when the call has no such file. */
  path(name: string): string;
  /** The file, read when asked: `await files.get("data.csv").text()`. Throws when the call has no such file. */
  get(name: string): Bun.BunFile;
  /** Whether the call has this file. */
  has(name: string): boolean;
} = {
  path(name: string): string {
    const path = place(IN, name);
    if (!existsSync(path)) throw new Error(`this call has no file ${JSON.stringify(name)}; give one with --file ${name}=PATH`);
    return path;
  },
  get(name: string): Bun.BunFile {
    return Bun.file(files.path(name));
  },
  has(name: string): boolean {
    return existsSync(place(IN, name));
  },
};

/** The path for a file that goes back with the answer: `await Bun.write(out("page.html"), html)`. */
export function out(name: string): string {
  return place(OUT, name);
}
