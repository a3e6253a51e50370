// The guest door without the SDK: descriptor 3 and frames made by hand, well or badly.

import { addressOf, sys, words } from "./_ffi.ts";
import { NR } from "./_nr.ts";

export const DOOR = 3;
const FRAME_BYTES_MAX = 1 << 20;
const POLLIN = 1;
const POLLOUT = 4;
const MSG_NOSIGNAL = 0x4000;

export type Answer =
  | { kind: "ok"; value: unknown }
  | { kind: "error"; reason: string; message: string }
  | { kind: "closed" }
  | { kind: "silent" };

/** A length and that many bytes; `claimed` lies about the length. */
export function frame(value: unknown, claimed?: number): Uint8Array {
  const body = value instanceof Uint8Array ? value : new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value));
  const bytes = new Uint8Array(4 + body.length);
  new DataView(bytes.buffer).setUint32(0, claimed ?? body.length, true);
  bytes.set(body, 4);
  return bytes;
}

/** Writes all of it, waiting for room; false when the other end is gone or takes nothing for `ms`. */
export function send(bytes: Uint8Array, ms = 5_000): boolean {
  for (let at = 0; at < bytes.length; ) {
    const sent = sys(NR.sendto, DOOR, bytes.subarray(at), bytes.length - at, MSG_NOSIGNAL | 0x40, 0, 0);
    if (sent > 0) at += sent;
    else if (sent === -11) {
      if (sys(NR.poll, new Int32Array([DOOR, POLLOUT]), 1, ms) <= 0) return false;
    } else return false;
  }
  return true;
}

let rest = new Uint8Array(0);

/** The next frame from the host. */
export function next(ms = 5_000): { kind: "frame"; value: Record<string, unknown> } | { kind: "closed" } | { kind: "silent" } {
  const until = performance.now() + ms;
  for (;;) {
    if (rest.length >= 4) {
      const length = new DataView(rest.buffer, rest.byteOffset).getUint32(0, true);
      if (length <= FRAME_BYTES_MAX && rest.length >= 4 + length) {
        const text = new TextDecoder().decode(rest.subarray(4, 4 + length));
        rest = rest.slice(4 + length);
        return { kind: "frame", value: JSON.parse(text === "" ? "{}" : text) as Record<string, unknown> };
      }
    }
    const left = Math.ceil(until - performance.now());
    if (left <= 0 || sys(NR.poll, new Int32Array([DOOR, POLLIN]), 1, left) <= 0) return { kind: "silent" };
    const piece = new Uint8Array(65_536);
    const got = sys(NR.recvfrom, DOOR, piece, piece.length, 0x40, 0, 0);
    if (got === 0 || (got < 0 && got !== -11)) return { kind: "closed" };
    if (got > 0) rest = new Uint8Array(Buffer.concat([rest, piece.subarray(0, got)]));
  }
}

/** What the host says to the request with this id; answers to others are dropped. */
export function answerTo(id: number, ms = 5_000): Answer {
  const until = performance.now() + ms;
  for (;;) {
    const got = next(Math.max(1, until - performance.now()));
    if (got.kind !== "frame") return got;
    const response = got.value.response as { id?: number; ok?: unknown; error?: { reason?: string; message?: string } } | undefined;
    if (response?.id !== id) continue;
    if (response.error !== undefined) return { kind: "error", reason: response.error.reason ?? "", message: response.error.message ?? "" };
    if ("ok" in response) return { kind: "ok", value: response.ok };
  }
}

let lastId = 0;

/** One request; `around` goes beside id and operation in the envelope. */
export function ask(op: string, body: unknown, around: Record<string, unknown> = {}, ms = 5_000): Answer {
  lastId += 1;
  if (!send(frame({ request: { id: lastId, [op]: body, ...around } }))) return { kind: "closed" };
  return answerTo(lastId, ms);
}

export function shown(answer: Answer): string {
  return answer.kind === "error" ? answer.reason : answer.kind === "ok" ? `ok ${JSON.stringify(answer.value)?.slice(0, 80)}` : answer.kind;
}

/** One message with these descriptors beside its bytes. */
export function sendDescriptors(bytes: Uint8Array, descriptors: readonly number[]): number {
  const length = 16 + 4 * descriptors.length;
  const control = new Uint8Array((length + 7) & ~7);
  const view = new DataView(control.buffer);
  view.setBigUint64(0, BigInt(length), true);
  view.setInt32(8, 1, true);
  view.setInt32(12, 1, true);
  descriptors.forEach((descriptor, i) => view.setInt32(16 + 4 * i, descriptor, true));
  const io = words(addressOf(bytes), bytes.length);
  const message = words(0, 0, addressOf(io), 1, addressOf(control), control.length, 0, 0);
  return sys(NR.sendmmsg, DOOR, message, 1, MSG_NOSIGNAL | 0x40);
}
