// The NBD protocol as far as QEMU's client speaks it: fixed newstyle handshake, simple replies, read, write and flush.

export const Command = { read: 0, write: 1, disconnect: 2, flush: 3 } as const;

export interface Request {
  command: number;
  handle: bigint;
  offset: number;
  length: number;
}

export interface Negotiation {
  phase: "flags" | "options" | "serving";
}

export const requestBytes = 28;
const requestMagic = 0x25609513;
const replyMagic = 0x67446698;
const optionMagic = 0x49484156454f5054n;
const optionReplyMagic = 0x3e889045565a9n;
const exportName = 1;
const abort = 2;
const info = 6;
const go = 7;
const ack = 1;
const infoReply = 3;
const unsupported = 0x80000001;
/** Has flags, takes flushes. No FUA, trim or write-zeroes: the guest then does all its ordering by flushes. */
const exportFlags = 1 | 4;
/** An option is a name and a few numbers. */
const optionBytesMax = 4096;

function bytes(length: number, fill: (view: DataView) => void): Uint8Array {
  const out = new Uint8Array(length);
  fill(new DataView(out.buffer));
  return out;
}

function view(input: Uint8Array): DataView {
  return new DataView(input.buffer, input.byteOffset, input.byteLength);
}

function optionReply(option: number, kind: number, data: Uint8Array): Uint8Array {
  const head = bytes(20, (to) => {
    to.setBigUint64(0, optionReplyMagic);
    to.setUint32(8, option);
    to.setUint32(12, kind);
    to.setUint32(16, data.length);
  });
  return Uint8Array.from([...head, ...data]);
}

export const handshake = {
  hello: (): Uint8Array =>
    bytes(18, (to) => {
      to.setBigUint64(0, 0x4e42444d41474943n);
      to.setBigUint64(8, optionMagic);
      to.setUint16(16, 1 | 2);
    }),

  /** Takes one step if the input holds it; returns the bytes used, 0 to wait for more. */
  step(state: Negotiation, input: Uint8Array, size: number, send: (bytes: Uint8Array) => void): number | "end" {
    if (state.phase === "flags") {
      if (input.length < 4) return 0;
      state.phase = "options";
      return 4;
    }
    if (input.length < 16) return 0;
    const [option, length] = [view(input).getUint32(8), view(input).getUint32(12)];
    if (view(input).getBigUint64(0) !== optionMagic || length > optionBytesMax) return "end";
    if (input.length < 16 + length) return 0;
    if (option === abort) return "end";
    if (option === go || option === info) {
      const about = bytes(12, (to) => {
        to.setUint16(0, 0);
        to.setBigUint64(2, BigInt(size));
        to.setUint16(10, exportFlags);
      });
      send(optionReply(option, infoReply, about));
      send(optionReply(option, ack, new Uint8Array(0)));
      if (option === go) state.phase = "serving";
    } else if (option === exportName) {
      send(bytes(10, (to) => {
        to.setBigUint64(0, BigInt(size));
        to.setUint16(8, exportFlags);
      }));
      state.phase = "serving";
    } else {
      send(optionReply(option, unsupported, new Uint8Array(0)));
    }
    return 16 + length;
  },
};

/** The header at the start of the input, if it is whole. */
export function readRequest(input: Uint8Array): Request | undefined {
  if (input.length < requestBytes) return undefined;
  const from = view(input);
  if (from.getUint32(0) !== requestMagic) throw new Error("the NBD client lost its place in the stream");
  return { command: from.getUint16(6), handle: from.getBigUint64(8), offset: Number(from.getBigUint64(16)), length: from.getUint32(24) };
}

export function replyHeader(handle: bigint, error: number): Uint8Array {
  return bytes(16, (to) => {
    to.setUint32(0, replyMagic);
    to.setUint32(4, error);
    to.setBigUint64(8, handle);
  });
}
