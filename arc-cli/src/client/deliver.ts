//! A bundle to a device: what it is made of is said first, then only what the device lacks is sent, and a broken upload goes on where
//! the device says it stopped.

import { basename } from "node:path";
import { Code, ConnectError } from "@connectrpc/connect";
import { recipe, type Piece } from "../bundle/recipe.ts";
import type { Context } from "../command.ts";
import { DeviceError, Exit, UserError } from "../errors.ts";
import type { AuthorityDiff, Bundle } from "../gen/aria/v1/bundles_pb.ts";
import { bytesText } from "../table.ts";
import { chunksOf, type HashedFile, openHashed } from "./blobs.ts";
import type { Device } from "./channel.ts";
import { withDevice } from "./session.ts";

/** Connections that may break before the upload is given up; each goes on where the one before it ended. */
const ATTEMPTS_MAX = 4;
/** A device that keeps asking for what was sent is broken. */
const ROUNDS_MAX = 3;

export interface Delivered {
  readonly bundle: Bundle | undefined;
  readonly alreadyPresent: boolean;
  /** Bytes of blobs or file that went over the wire. */
  readonly sentBytes: number;
  /** What it may touch more or less than the version before. */
  readonly authority: AuthorityDiff | undefined;
}

/** What is wanted beside the installation. */
export interface Wishes {
  /** The authority digest that may be wider than the installed version's; empty: none. */
  readonly acceptAuthority: string;
  /** Judge it, install nothing. */
  readonly dryRun: boolean;
}

const NO_WISHES: Wishes = { acceptAuthority: "", dryRun: false };

/** Sends a bundle file to the chosen device. */
export async function deliver(path: string, contextName: string | undefined, context: Context, wishes: Wishes = NO_WISHES): Promise<Delivered> {
  const file = await openHashed(path, "bundle");
  const sent = { bytes: 0 };
  try {
    const pieces = await recipe(file.handle, Number(file.sizeBytes));
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await withDevice(contextName, context, `upload ${basename(path)}`, (device) => send(device, file, pieces, sent, context, wishes));
      } catch (error) {
        if (!(error instanceof UserError && error.code === "ARC3001") || attempt === ATTEMPTS_MAX || pieces === undefined || sent.bytes === 0) throw error;
        context.ui.note("the connection broke; going on where the device stopped");
      }
    }
  } finally {
    await file.handle.close();
  }
}

/** The same over a connection that is open; one that breaks is the caller's to open again. */
export async function deliverOver(device: Device, path: string, context: Context, wishes: Wishes): Promise<Delivered> {
  const file = await openHashed(path, "bundle");
  try {
    return await send(device, file, await recipe(file.handle, Number(file.sizeBytes)), { bytes: 0 }, context, wishes);
  } finally {
    await file.handle.close();
  }
}

async function send(device: Device, file: HashedFile, pieces: readonly Piece[] | undefined, sent: { bytes: number }, context: Context, wishes: Wishes): Promise<Delivered> {
  const { ui, signal } = context;
  const bar = ui.progress(basename(file.path), Number(file.sizeBytes), bytesText);
  const count = (bytes: number): void => {
    sent.bytes += bytes;
    bar.advance(bytes);
  };
  try {
    const answer = pieces === undefined ? undefined : await sendPieces(device, file, pieces, count, signal, wishes);
    const { bundle, alreadyPresent, authority } = answer ?? (await sendWhole(device, file, count, signal, wishes));
    return { bundle, alreadyPresent, authority, sentBytes: sent.bytes };
  } finally {
    bar.end();
  }
}

type Count = (bytes: number) => void;
type Answer = { readonly bundle?: Bundle | undefined; readonly alreadyPresent: boolean; readonly authority?: AuthorityDiff | undefined };

/** Undefined: the device is older and takes whole files alone. */
async function sendPieces(device: Device, file: HashedFile, pieces: readonly Piece[], count: Count, signal: AbortSignal, wishes: Wishes): Promise<Answer | undefined> {
  const { sha256, sizeBytes } = file;
  const request = { file: { sha256, sizeBytes }, pieces: pieces.map(pieceMessage), ...wishes };
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    let answer;
    try {
      answer = await device.bundles.commitBundle(request, { signal });
    } catch (error) {
      if (round === 0 && ConnectError.from(error).code === Code.Unimplemented) return undefined;
      throw error;
    }
    if (answer.bundle !== undefined) return answer;
    for (const [index, blob] of answer.missing.entries()) {
      const piece = pieces.find((piece) => piece.kind === "blob" && piece.sha256 === blob.sha256);
      if (piece?.kind !== "blob") throw new DeviceError("ARC3011", "the device asks for bytes that are not in the bundle", { exit: Exit.unexpected });
      await putPiece(device, file, piece, answer.heldBytes[index] ?? 0n, count, signal);
    }
  }
  throw new DeviceError("ARC3011", "the device asks again for what was sent", { exit: Exit.unexpected });
}

function pieceMessage(piece: Piece) {
  if (piece.kind === "literal") return { piece: { case: "literal" as const, value: piece.bytes } };
  return { piece: { case: "blob" as const, value: { sha256: piece.sha256, sizeBytes: BigInt(piece.sizeBytes) } } };
}

async function putPiece(device: Device, file: HashedFile, piece: Extract<Piece, { kind: "blob" }>, held: bigint, count: Count, signal: AbortSignal): Promise<void> {
  const blob = { sha256: piece.sha256, sizeBytes: BigInt(piece.sizeBytes) };
  const offset = held < blob.sizeBytes ? Number(held) : 0;
  async function* parts() {
    yield { part: { case: "resume" as const, value: { blob, offsetBytes: BigInt(offset) } } };
    for await (const chunk of chunksOf(file.handle, piece.at + offset, piece.at + piece.sizeBytes)) {
      yield { part: { case: "chunk" as const, value: chunk } };
      count(chunk.byteLength);
    }
  }
  await device.blobs.putBlob(parts(), { signal });
}

async function sendWhole(device: Device, file: HashedFile, count: Count, signal: AbortSignal, wishes: Wishes): Promise<Answer> {
  async function* parts() {
    yield { part: { case: "start" as const, value: { file: { sha256: file.sha256, sizeBytes: file.sizeBytes }, ...wishes } } };
    for await (const chunk of chunksOf(file.handle)) {
      yield { part: { case: "chunk" as const, value: chunk } };
      count(chunk.byteLength);
    }
  }
  return await device.bundles.uploadBundle(parts(), { signal });
}
