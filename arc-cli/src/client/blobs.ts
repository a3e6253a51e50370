//! Bytes to and from a device, in constant memory and checked by digest at both ends.

import { createHash, randomBytes } from "node:crypto";
import { type FileHandle, mkdir, open, rename, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { DeviceError, Exit, UserError } from "../errors.ts";
import type { FileRef } from "../gen/aria/v1/common_pb.ts";
import type { ProgressBar, Ui } from "../ui.ts";
import { bytesText } from "../table.ts";
import { fileNameIsValid, type Pair } from "../values.ts";
import type { Device } from "./channel.ts";

/** How much is read, sent and held at once. */
export const CHUNK_BYTES = 256 * 1024;

export interface Digest {
  readonly sha256: string;
  readonly sizeBytes: bigint;
}

/** An open regular file and its digest; what is sent later comes from the same descriptor. */
export interface HashedFile extends Digest {
  readonly path: string;
  readonly handle: FileHandle;
}

export async function openHashed(path: string, what: string): Promise<HashedFile> {
  const handle = await openRegular(path, what);
  try {
    const hash = createHash("sha256");
    let size = 0;
    for await (const chunk of chunksOf(handle)) {
      hash.update(chunk);
      size += chunk.byteLength;
    }
    return { path, handle, sha256: hash.digest("hex"), sizeBytes: BigInt(size) };
  } catch (error) {
    await handle.close();
    throw unreadable(what, path, error);
  }
}

async function openRegular(path: string, what: string): Promise<FileHandle> {
  let handle: FileHandle;
  try {
    handle = await open(path, "r");
  } catch (error) {
    throw unreadable(what, path, error);
  }
  if ((await handle.stat()).isFile()) return handle;
  await handle.close();
  throw new UserError("ARC2041", `${what} ${path} is no regular file`, { exit: Exit.usage });
}

function unreadable(what: string, path: string, error: unknown): UserError {
  const { code, message } = error as NodeJS.ErrnoException;
  const exit = code === "ENOENT" || code === "ENOTDIR" ? Exit.notFound : Exit.unexpected;
  return new UserError("ARC2040", `read ${what} ${path}: ${message}`, { exit, cause: error });
}

/** The file, or the part of it from `position` up to `end`, in chunks; each chunk is a buffer of its own. */
export async function* chunksOf(handle: FileHandle, position = 0, end = Number.POSITIVE_INFINITY): AsyncGenerator<Uint8Array> {
  for (let at = position; at < end; ) {
    const { bytesRead, buffer } = await handle.read(new Uint8Array(CHUNK_BYTES), 0, Math.min(CHUNK_BYTES, end - at), at);
    if (bytesRead === 0) return;
    at += bytesRead;
    yield bytesRead === CHUNK_BYTES ? buffer : buffer.subarray(0, bytesRead);
  }
}

/** Sends what the device does not have yet. */
export async function putBlob(device: Device, blob: Digest, chunks: () => AsyncIterable<Uint8Array>, bar: ProgressBar, signal: AbortSignal): Promise<void> {
  const ref = { sha256: blob.sha256, sizeBytes: blob.sizeBytes };
  const { missing } = await device.blobs.findMissing({ blobs: [ref] }, { signal });
  if (missing.length === 0) return;
  async function* parts(): AsyncGenerator<{ part: { case: "start"; value: typeof ref } | { case: "chunk"; value: Uint8Array } }> {
    yield { part: { case: "start", value: ref } };
    for await (const chunk of chunks()) {
      yield { part: { case: "chunk", value: chunk } };
      bar.advance(chunk.byteLength);
    }
  }
  await device.blobs.putBlob(parts(), { signal });
}

/** Puts one file. */
export async function putFile(device: Device, path: string, what: string, ui: Ui, signal: AbortSignal): Promise<Digest> {
  const file = await openHashed(path, what);
  const bar = ui.progress(basename(path), Number(file.sizeBytes), bytesText);
  try {
    await putBlob(device, file, () => chunksOf(file.handle), bar, signal);
  } finally {
    bar.end();
    await file.handle.close();
  }
  return { sha256: file.sha256, sizeBytes: file.sizeBytes };
}

/** Puts the `--file name=path` arguments of a call. */
export async function putFiles(device: Device, files: readonly Pair[], ui: Ui, signal: AbortSignal): Promise<{ name: string; blob: Digest }[]> {
  const seen = new Set<string>();
  const refs: { name: string; blob: Digest }[] = [];
  for (const { name, value: path } of files) {
    if (seen.has(name)) throw new UserError("ARC2006", `--file ${name} is given twice`);
    seen.add(name);
    refs.push({ name, blob: await putFile(device, path, "file", ui, signal) });
  }
  return refs;
}

/** Saves what a run left in /out. The names come from the tool: anything but a plain file name is refused. */
export async function saveFiles(device: Device, files: readonly FileRef[], dir: string, signal: AbortSignal): Promise<string[]> {
  for (const { name } of files) {
    if (!fileNameIsValid(name)) throw new DeviceError("ARC3007", `the run left a file whose name is not plain: ${JSON.stringify(name)}`, { exit: Exit.unexpected });
  }
  await mkdir(dir, { recursive: true }).catch((error: unknown) => {
    throw new UserError("ARC2042", `make ${dir}: ${(error as Error).message}`, { exit: Exit.unexpected, cause: error });
  });
  const saved: string[] = [];
  for (const file of files) {
    const path = join(dir, file.name);
    await saveBlob(device, file, path, dir, signal);
    saved.push(path);
  }
  return saved;
}

async function saveBlob(device: Device, file: FileRef, path: string, dir: string, signal: AbortSignal): Promise<void> {
  const wanted = file.blob?.sha256 ?? "";
  const draft = join(dir, `.arc-${randomBytes(6).toString("hex")}`);
  const handle = await open(draft, "wx").catch((error: unknown) => {
    throw new UserError("ARC2042", `write into ${dir}: ${(error as Error).message}`, { exit: Exit.unexpected, cause: error });
  });
  try {
    const hash = createHash("sha256");
    for await (const { chunk } of device.blobs.getBlob({ sha256: wanted }, { signal })) {
      hash.update(chunk);
      await handle.writeFile(chunk);
    }
    if (hash.digest("hex") !== wanted) throw new DeviceError("DIGEST_MISMATCH", `the device sent other bytes than ${file.name} has`, { exit: Exit.conflict });
    await handle.close();
    // Replaces a link instead of following it.
    await rename(draft, path);
  } catch (error) {
    await handle.close().catch(() => undefined);
    await rm(draft, { force: true });
    throw error;
  }
}
