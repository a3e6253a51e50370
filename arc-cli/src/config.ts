//! Contexts: which devices this user knows, with the credentials for each (docs/formats.md, "arc on this checkout").
//!
//! Everything lies in one directory and is replaced whole, never edited in place; keys are readable by their owner alone.

import { randomBytes } from "node:crypto";
import { chown, mkdir, open, readFile, rename, rm, stat, unlink } from "node:fs/promises";
import { homedir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { Exit, UserError } from "./errors.ts";
import { didYouMean } from "./suggest.ts";

type Env = Readonly<Record<string, string | undefined>>;

/** One device as `config.json` stores it; paths are relative to the directory of that file. */
export interface StoredContext {
  /** `host:port`; empty when the device only listens on its socket. */
  readonly address: string;
  /** Unix socket, for a device on this machine without a TCP port. */
  readonly socket?: string;
  readonly node: string;
  readonly ca: string;
  readonly certificate: string;
  readonly key: string;
}

export interface Config {
  readonly current: string | undefined;
  readonly contexts: Readonly<Record<string, StoredContext>>;
}

/** A context with its name and its paths made absolute. */
export interface DeviceContext extends StoredContext {
  readonly name: string;
}

export function configDir(env: Env): string {
  const own = env["ARC_CONFIG_DIR"];
  if (own !== undefined && own !== "") return resolve(own);
  const xdg = env["XDG_CONFIG_HOME"];
  // The specification: a relative value is to be ignored.
  return xdg !== undefined && xdg.startsWith("/") ? join(xdg, "arc") : join(env["HOME"] ?? homedir(), ".config", "arc");
}

/** Throws for a name that could be a path or an option. */
export function contextName(text: string): string {
  if (!/^[a-z0-9][a-z0-9._-]{0,62}$/.test(text)) {
    throw new UserError("ARC2030", `\`${text}\` cannot be the name of a device`, { hint: "1 to 63 of a-z, 0-9, `.`, `_`, `-`, beginning with a letter or digit" });
  }
  return text;
}

export async function loadConfig(dir: string): Promise<Config> {
  const path = join(dir, "config.json");
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return { current: undefined, contexts: {} };
    throw unreadable(path, error);
  }
  return parseConfig(text, path);
}

export function parseConfig(text: string, path: string): Config {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw damaged(path, (error as Error).message);
  }
  if (!isRecord(value)) throw damaged(path, "it is no object");
  const { current, contexts = {} } = value;
  if (current !== undefined && current !== null && typeof current !== "string") throw damaged(path, "`current` is no text");
  if (!isRecord(contexts)) throw damaged(path, "`contexts` is no object");
  const parsed: Record<string, StoredContext> = {};
  for (const [name, context] of Object.entries(contexts)) parsed[contextName(name)] = parseContext(context, name, path);
  return { current: current ?? undefined, contexts: parsed };
}

function parseContext(value: unknown, name: string, path: string): StoredContext {
  if (!isRecord(value)) throw damaged(path, `context ${name} is no object`);
  const text = (key: string): string => {
    const found = value[key];
    if (typeof found !== "string") throw damaged(path, `\`${key}\` of context ${name} is missing or no text`);
    return found;
  };
  const base = { address: text("address"), node: text("node"), ca: text("ca"), certificate: text("certificate"), key: text("key") };
  return value["socket"] === undefined ? base : { ...base, socket: text("socket") };
}

/** The context to use: `--context`, else ARC_CONTEXT, else the current one. */
export function chooseContext(config: Config, dir: string, wanted: string | undefined): DeviceContext {
  const name = wanted ?? config.current;
  const known = Object.keys(config.contexts);
  if (name === undefined) {
    const hint = known.length === 0 ? "enrol with one first" : `choose one of ${known.join(", ")}`;
    const fix = known.length === 0 ? ["arc device init", "arc device add NAME --address HOST:PORT --fingerprint SHA256"] : ["arc device use NAME"];
    throw new UserError("ARC2031", "no device is chosen", { exit: Exit.notFound, hint, fix });
  }
  const found = config.contexts[name];
  if (found === undefined) {
    const hint = didYouMean(name, known) ?? (known.length === 0 ? "no device is known yet" : `known are ${known.join(", ")}`);
    throw new UserError("ARC2032", `no device is called \`${name}\``, { exit: Exit.notFound, hint, fix: ["arc device ls"] });
  }
  return { name, ...found, ca: join(dir, found.ca), certificate: join(dir, found.certificate), key: join(dir, found.key) };
}

/** Reads, changes and writes `config.json` while no other arc does; `before` runs under the same lock, before the write. */
export async function updateConfig(dir: string, change: (config: Config) => Config, before?: () => Promise<void>): Promise<Config> {
  await makeDir(dir);
  const unlock = await lock(join(dir, "config.json.lock"));
  try {
    const next = change(await loadConfig(dir));
    await before?.();
    const ordered = { current: next.current, contexts: Object.fromEntries(Object.entries(next.contexts).sort(([a], [b]) => (a < b ? -1 : 1))) };
    await writePrivate(join(dir, "config.json"), `${JSON.stringify(ordered, null, 2)}\n`);
    return next;
  } finally {
    await unlock();
  }
}

/** Writes a file only its owner may read: whole or not at all, also across a power cut. */
export async function writePrivate(path: string, content: string): Promise<void> {
  await makeDir(dirname(path));
  const draft = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString("hex")}`);
  try {
    const file = await open(draft, "wx", 0o600);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await giveToOwner(draft);
    await rename(draft, path);
  } catch (error) {
    await rm(draft, { force: true });
    throw new UserError("ARC2033", `write ${path}: ${(error as Error).message}`, { exit: Exit.unexpected, cause: error });
  }
}

async function makeDir(dir: string): Promise<void> {
  try {
    const first = await mkdir(dir, { recursive: true, mode: 0o700 });
    if (first === undefined) return;
    const made = [dir];
    for (let at = dir; at !== first && at !== dirname(at); ) {
      at = dirname(at);
      made.unshift(at);
    }
    // From the top, because each takes its owner from the one above.
    for (const path of made) await giveToOwner(path);
  } catch (error) {
    throw new UserError("ARC2033", `make ${dir}: ${(error as Error).message}`, { exit: Exit.unexpected, cause: error });
  }
}

/** Root writing into somebody's directory (through sudo) leaves files that somebody can read. */
async function giveToOwner(path: string): Promise<void> {
  if (process.getuid?.() !== 0) return;
  const parent = await stat(dirname(path));
  if (parent.uid !== 0) await chown(path, parent.uid, parent.gid);
}

const LOCK_WAIT_MS = 5000;
const LOCK_STALE_MS = 30_000;

async function lock(path: string): Promise<() => Promise<void>> {
  const deadline = Date.now() + LOCK_WAIT_MS;
  for (;;) {
    try {
      await (await open(path, "wx", 0o600)).close();
      return () => unlink(path).catch(() => undefined);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw unreadable(path, error);
    }
    const age = await stat(path).then((found) => Date.now() - found.mtimeMs, () => 0);
    // Nobody holds it for more than a write; an old one was left by a power cut or a kill.
    if (age > LOCK_STALE_MS) await rm(path, { force: true });
    else if (Date.now() > deadline) throw new UserError("ARC2034", `another arc is changing ${dirname(path)}`, { exit: Exit.unavailable, retryable: true, hint: `remove ${path} if none runs` });
    else await Bun.sleep(25);
  }
}

function unreadable(path: string, error: unknown): UserError {
  return new UserError("ARC2033", `read ${path}: ${(error as Error).message}`, { exit: Exit.unexpected, cause: error });
}

function damaged(path: string, why: string): UserError {
  return new UserError("ARC2035", `${path} is damaged: ${why}`, { exit: Exit.unexpected, hint: "repair or remove the file, then enrol again" });
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}
