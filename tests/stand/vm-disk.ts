// A disk that can lose power: an NBD server whose write cache is this process's memory.
//
// What the guest has flushed is in the file. What it has only written is in memory and gone after `cut()`, as in a disk without a
// battery. `survive` makes some of those writes reach the disk all the same, in no order, as real disks do. With `ignoreFlush` the
// disk lies: then a test that relies on durability must fail, which is how the test itself is tested.

import { closeSync, fstatSync, openSync, readSync, writeSync, fsyncSync } from "node:fs";
import type { Socket } from "bun";
import { handshake, replyHeader, requestBytes, Command, readRequest, type Negotiation } from "./vm-nbd.ts";

const pageBytes = 4096;
/** Written but not flushed. More than any honest guest has; beyond it the model would be lying, so it stops. */
const cacheBytesMax = 2 ** 30;

export interface CutOptions {
  /** Share of the unflushed pages that reach the disk all the same, 0 to 1 (default 0). */
  survive?: number;
  /** Seed of the choice. */
  seed?: number;
}

export interface DiskOptions {
  ignoreFlush?: boolean;
}

interface Client {
  negotiation: Negotiation;
  input: Uint8Array;
  output: Uint8Array[];
}

/** Small seeded generator (mulberry32), so that a failing cut can be repeated. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The cache over the file; knows nothing of sockets. */
export class WriteCache {
  readonly size: number;
  #fd: number;
  #pages = new Map<number, Uint8Array>();
  /** From when this is set, flushes are answered and do nothing. */
  ignoreFlush: boolean;
  flushes = 0;
  dead = false;

  constructor(file: string, options: DiskOptions = {}) {
    this.#fd = openSync(file, "r+");
    this.size = fstatSync(this.#fd).size;
    this.ignoreFlush = options.ignoreFlush ?? false;
    if (this.size % pageBytes !== 0) throw new Error(`disk ${file} is not a whole number of ${pageBytes}-byte pages`);
  }

  get unflushedBytes(): number {
    return this.#pages.size * pageBytes;
  }

  read(offset: number, length: number): Uint8Array {
    const out = new Uint8Array(length);
    readSync(this.#fd, out, 0, length, offset);
    this.#each(offset, length, (page, from, to, at) => {
      const held = this.#pages.get(page);
      if (held) out.set(held.subarray(from, to), at);
    });
    return out;
  }

  write(offset: number, bytes: Uint8Array): void {
    if (this.dead) return;
    this.#each(offset, bytes.length, (page, from, to, at) => {
      let held = this.#pages.get(page);
      if (!held) {
        held = new Uint8Array(pageBytes);
        if (to - from < pageBytes) readSync(this.#fd, held, 0, pageBytes, page * pageBytes);
        this.#pages.set(page, held);
      }
      held.set(bytes.subarray(at, at + to - from), from);
    });
    if (this.unflushedBytes > cacheBytesMax) throw new Error(`more than ${cacheBytesMax} bytes written without a flush`);
  }

  flush(): void {
    if (this.dead) return;
    this.flushes += 1;
    if (this.ignoreFlush) return;
    for (const [page, bytes] of this.#pages) writeSync(this.#fd, bytes, 0, pageBytes, page * pageBytes);
    this.#pages.clear();
  }

  /** Power is gone: what was not flushed is lost, except what survives by chance. Returns bytes lost. */
  cut(options: CutOptions = {}): number {
    this.dead = true;
    const draw = random(options.seed ?? 1);
    for (const [page, bytes] of this.#pages) {
      if (draw() >= (options.survive ?? 0)) continue;
      writeSync(this.#fd, bytes, 0, pageBytes, page * pageBytes);
      this.#pages.delete(page);
    }
    const lost = this.unflushedBytes;
    this.#pages.clear();
    return lost;
  }

  /** The guest is gone in good order: nothing written may be lost by us. */
  close(): void {
    if (!this.dead && !this.ignoreFlush) this.flush();
    this.dead = true;
    fsyncSync(this.#fd);
    closeSync(this.#fd);
  }

  #each(offset: number, length: number, visit: (page: number, from: number, to: number, at: number) => void): void {
    for (let at = 0; at < length; ) {
      const page = Math.floor((offset + at) / pageBytes);
      const from = (offset + at) % pageBytes;
      const to = Math.min(pageBytes, from + length - at);
      visit(page, from, to, at);
      at += to - from;
    }
  }
}

/** Serves one cache on a Unix socket until `close()`. */
export class BlockServer {
  readonly cache: WriteCache;
  #server: { stop(force?: boolean): void };

  constructor(socket: string, cache: WriteCache) {
    this.cache = cache;
    this.#server = Bun.listen<Client>({
      unix: socket,
      socket: {
        open: (peer) => {
          peer.data = { negotiation: { phase: "flags" }, input: new Uint8Array(0), output: [] };
          send(peer, handshake.hello());
        },
        data: (peer, chunk) => this.#take(peer, chunk),
        drain: (peer) => drain(peer),
        error: () => {},
      },
    });
  }

  #take(peer: Socket<Client>, chunk: Uint8Array): void {
    const client = peer.data;
    client.input = client.input.length === 0 ? chunk.slice() : concat(client.input, chunk);
    for (;;) {
      const used = client.negotiation.phase === "serving" ? this.#serve(peer) : handshake.step(client.negotiation, client.input, this.cache.size, (bytes) => send(peer, bytes));
      if (used === "end") return void peer.end();
      if (used === 0) return;
      client.input = client.input.subarray(used);
    }
  }

  /** Answers one whole request; 0 when it is not whole yet. */
  #serve(peer: Socket<Client>): number | "end" {
    const request = readRequest(peer.data.input);
    if (!request) return 0;
    if (request.command === Command.disconnect) return "end";
    const body = request.command === Command.write ? request.length : 0;
    if (peer.data.input.length < requestBytes + body) return 0;
    const inside = request.offset + request.length <= this.cache.size;
    if (request.command === Command.flush) {
      this.cache.flush();
      send(peer, replyHeader(request.handle, 0));
    } else if (!inside || (request.command !== Command.read && request.command !== Command.write)) {
      send(peer, replyHeader(request.handle, 22));
    } else if (request.command === Command.read) {
      send(peer, concat(replyHeader(request.handle, 0), this.cache.read(request.offset, request.length)));
    } else {
      this.cache.write(request.offset, peer.data.input.subarray(requestBytes, requestBytes + body));
      send(peer, replyHeader(request.handle, 0));
    }
    return requestBytes + body;
  }

  close(): void {
    this.#server.stop(true);
    this.cache.close();
  }
}

function concat(a: Uint8Array, b: Uint8Array): Uint8Array {
  const out = new Uint8Array(a.length + b.length);
  out.set(a);
  out.set(b, a.length);
  return out;
}

function send(peer: Socket<Client>, bytes: Uint8Array): void {
  peer.data.output.push(bytes);
  drain(peer);
}

function drain(peer: Socket<Client>): void {
  const queue = peer.data.output;
  while (queue[0]) {
    const written = peer.write(queue[0]);
    if (written < queue[0].length) {
      queue[0] = queue[0].subarray(Math.max(written, 0));
      return;
    }
    queue.shift();
  }
}
