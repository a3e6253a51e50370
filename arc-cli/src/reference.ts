//! What a person points at when a bundle is meant: a bundle file, a project's directory, or `[device:]name[@version]` on a device.

import { existsSync, statSync } from "node:fs";
import { resolve } from "node:path";

import { authorityDigest, interfaceDigest } from "./bundle/digest.ts";
import { parseJson } from "./bundle/json.ts";
import { type Manifest, readManifest } from "./bundle/manifest.ts";
import { CALL_TIMEOUT_MS, withDevice } from "./client/session.ts";
import type { Context } from "./command.ts";
import { readBundle } from "./commands/inspect.ts";
import { projectStep } from "./compiler/session.ts";
import { Exit, UserError } from "./errors.ts";

export interface Referred {
  /** How to show it. */
  readonly name: string;
  readonly from: "file" | "project" | "device";
  readonly manifest: Manifest;
  /** Identity; a project that is not built has none. */
  readonly digest: string | null;
  readonly interfaceDigest: string;
  readonly authorityDigest: string;
}

const INSTALLED = /^(?:([a-z0-9][a-z0-9._-]{0,62}):)?([a-z][a-z0-9-]{0,62})(?:@([0-9A-Za-z.+-]{1,128}))?$/;

/** Reads the manifest of what `text` means. `device` is the context when the text names none. */
export async function refer(text: string, context: Context, device?: string): Promise<Referred> {
  const path = resolve(context.cwd, text);
  const looksLikePath = text.includes("/") || text === "." || text === ".." || text.endsWith(".aria");
  if (looksLikePath || (existsSync(path) && !text.includes("@") && !text.includes(":") && (statSync(path).isFile() || existsSync(resolve(path, "arc.toml"))))) return await onDisk(path, text, context);
  const found = INSTALLED.exec(text);
  if (found === null) throw new UserError("ARC2043", `\`${text}\` is no bundle`, { hint: "write a file, a project's directory, or [DEVICE:]NAME[@VERSION]" });
  const [, named, name = "", version = ""] = found;
  const { bundle, manifestJson } = await withDevice(named ?? device, context, `look up ${text}`, (open) => open.bundles.getBundle({ name, version }, { signal: context.signal, timeoutMs: CALL_TIMEOUT_MS }));
  if (bundle === undefined) throw new UserError("ARC3009", `look up ${text}: the device answered without one`);
  const manifest = readManifest(parseJson(new TextEncoder().encode(manifestJson), "the device's manifest"));
  return { name: `${named === undefined ? "" : `${named}:`}${bundle.name}@${bundle.version}`, from: "device", manifest, digest: bundle.digest, ...digests(manifest) };
}

async function onDisk(path: string, shown: string, context: Context): Promise<Referred> {
  if (!existsSync(path)) throw new UserError("ARC1103", `${shown} does not exist`, { exit: Exit.notFound });
  if (!statSync(path).isDirectory()) {
    const { bundle } = readBundle(path, shown);
    return { name: shown, from: "file", manifest: bundle.manifest, digest: bundle.digest, ...digests(bundle.manifest) };
  }
  const manifest = await projectStep(path, context, async (compiled) => (await import("./compiler/build.ts")).declaredBy(compiled));
  return { name: `${manifest.name}@${manifest.version} (${shown})`, from: "project", manifest, digest: null, ...digests(manifest) };
}

function digests(manifest: Manifest): Pick<Referred, "interfaceDigest" | "authorityDigest"> {
  return { interfaceDigest: interfaceDigest(manifest), authorityDigest: authorityDigest(manifest) };
}
