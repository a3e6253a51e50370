//! An author's keys on this machine: Ed25519, one PKCS #8 PEM file each, readable by their owner alone.

import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

import { keyIdOf } from "../bundle/signature.ts";
import { writePrivate } from "../config.ts";
import { Exit, UserError } from "../errors.ts";
import { didYouMean } from "../suggest.ts";

/** The key `arc build` signs with when nothing else is said. */
export const DEFAULT_KEY = "default";

export interface AuthorKey {
  readonly name: string;
  /** `sha256:<hex>` of the DER SubjectPublicKeyInfo. */
  readonly keyId: string;
  readonly privatePem: string;
  readonly publicKey: KeyObject;
}

/** Throws for a name that could be a path or an option. */
export function keyName(text: string): string {
  if (/^[a-z0-9][a-z0-9._-]{0,62}$/.test(text)) return text;
  throw new UserError("ARC2070", `\`${text}\` cannot be the name of a key`, { hint: "1 to 63 of a-z, 0-9, `.`, `_`, `-`, beginning with a letter or digit" });
}

/** Makes a key; refuses to replace one, because what it signed would have no key any more. */
export async function makeKey(dir: string, name: string): Promise<AuthorKey> {
  if ((await findKey(dir, name)) !== undefined) {
    throw new UserError("ARC2071", `there is a key called ${name} already`, { exit: Exit.conflict, hint: "choose another name; replacing it would orphan what it signed" });
  }
  const pem = generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  await writePrivate(pathOf(dir, name), pem);
  return describe(name, pem);
}

/** The key of this name, if there is one. */
export async function findKey(dir: string, name: string): Promise<AuthorKey | undefined> {
  const path = pathOf(dir, keyName(name));
  let pem: string;
  try {
    pem = await readFile(path, "utf8");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new UserError("ARC2072", `read the key ${path}: ${(cause as Error).message}`, { exit: Exit.denied, cause });
  }
  try {
    return describe(name, pem);
  } catch (cause) {
    throw new UserError("ARC2072", `${path} holds no usable Ed25519 key`, { exit: Exit.unexpected, cause });
  }
}

/** The same, when it must be there. */
export async function requireKey(dir: string, name: string): Promise<AuthorKey> {
  const found = await findKey(dir, name);
  if (found !== undefined) return found;
  const known = (await listKeys(dir)).map((key) => key.name);
  const hint = didYouMean(name, known) ?? (known.length === 0 ? "there is no key yet" : `known are ${known.join(", ")}`);
  throw new UserError("ARC2073", `no key is called \`${name}\``, { exit: Exit.notFound, hint, fix: [`arc key new ${name}`] });
}

/** All keys, by name. */
export async function listKeys(dir: string): Promise<AuthorKey[]> {
  let files: string[] = [];
  try {
    files = await readdir(join(dir, "keys"));
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "ENOENT") throw new UserError("ARC2072", `read ${join(dir, "keys")}: ${(cause as Error).message}`, { exit: Exit.denied, cause });
  }
  const names = files.filter((file) => /^[a-z0-9][a-z0-9._-]*\.pem$/.test(file)).map((file) => file.slice(0, -4));
  const keys = await Promise.all(names.sort().map((name) => findKey(dir, name)));
  return keys.filter((key) => key !== undefined);
}

function pathOf(dir: string, name: string): string {
  return join(dir, "keys", `${name}.pem`);
}

function describe(name: string, privatePem: string): AuthorKey {
  const key = createPrivateKey(privatePem);
  if (key.asymmetricKeyType !== "ed25519") throw new TypeError("not an Ed25519 key");
  const publicKey = createPublicKey(key);
  return { name, keyId: keyIdOf(publicKey), privatePem, publicKey };
}
