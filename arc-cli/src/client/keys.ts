//! Private keys on disk: one per context, and the operator's, which devices are told to expect.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { writePrivate } from "../config.ts";
import { Exit, UserError } from "../errors.ts";
import { keySha256, newKeyPem } from "./der.ts";

/** The key of a context that exists, so that enrolling again keeps the identity; else a new one. */
export async function contextKey(dir: string, name: string): Promise<string> {
  return (await existingKey(join(dir, "contexts", name, "client.key"))) ?? newKeyPem();
}

/** The operator's key that devices are told to expect; made on first use. */
export async function operatorKey(dir: string): Promise<{ pem: string; created: boolean }> {
  const path = join(dir, "operator.key");
  const existing = await existingKey(path);
  if (existing !== undefined) return { pem: existing, created: false };
  const made = newKeyPem();
  await writePrivate(path, made);
  return { pem: made, created: true };
}

async function existingKey(path: string): Promise<string | undefined> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new UserError("ARC2037", `read the key ${path}: ${(error as Error).message}`, { exit: Exit.denied, cause: error });
  }
  try {
    keySha256(text);
    return text;
  } catch (error) {
    throw new UserError("ARC2037", `${path} holds no usable key`, { exit: Exit.unexpected, cause: error, hint: "remove the file to make a new one" });
  }
}
