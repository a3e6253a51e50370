//! One request through the device: begun, written, read, closed. What `fetch` and `node:http` stand on here.

import type { Asked, Refusal } from "../requests.ts";

/** Bytes in one frame; the device takes no larger piece. */
export const PIECE_BYTES = 192 * 1024;

/** Asks the device; the answer rejects with a `Refusal`. */
export type Ask = (op: string, body: object) => Asked;

/** Where a request goes and what it says. */
export interface Outgoing {
  readonly url: URL;
  readonly method: string;
  readonly headers: readonly (readonly [string, string])[];
}

/** The beginning of an answer. */
export interface Head {
  readonly status: number;
  readonly statusText: string;
  readonly headers: readonly (readonly [string, string])[];
}

/** The device did not do it. `code` is stable: `EGRESS_DENIED`, `EGRESS_TIMEOUT`, `EGRESS_BUDGET`, … */
export class EgressError extends Error {
  override readonly name = "EgressError";
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

let last = 0;

/** One request. Every method but `close` rejects with an `EgressError`. */
export class Exchange {
  readonly #ask: Ask;
  readonly #stream = ++last;
  #closed = false;

  constructor(ask: Ask) {
    this.#ask = ask;
  }

  /** Sends it with its whole body. */
  async open(outgoing: Outgoing, body: Uint8Array | undefined): Promise<Head> {
    return (await this.#request("netOpen", { ...target(outgoing), ...(body ? { body: base64(body) } : {}) })) as Head;
  }

  /** Connects; the body follows with `write`, the answer comes with `head`. */
  async openPieces(outgoing: Outgoing): Promise<void> {
    await this.#request("netOpen", { ...target(outgoing), pieces: true });
  }

  /** The next bytes of the body; false when the other side wants no more. */
  async write(bytes: Uint8Array): Promise<boolean> {
    for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
      const { taken } = (await this.#request("netWrite", { data: base64(bytes.subarray(at, at + PIECE_BYTES)) })) as { taken: boolean };
      if (!taken) return false;
    }
    return true;
  }

  /** The body is over. */
  async end(): Promise<void> {
    await this.#request("netWrite", { end: true });
  }

  async head(): Promise<Head> {
    return (await this.#request("netHead", {})) as Head;
  }

  /** The next bytes of the answer; the last piece may be empty. */
  async read(): Promise<{ readonly bytes: Uint8Array; readonly end: boolean }> {
    const { data, end } = (await this.#request("netRead", {})) as { data: string; end: boolean };
    if (end) this.#closed = true;
    return { bytes: Buffer.from(data, "base64"), end };
  }

  /** Ends it, whatever it is doing. A second call is harmless. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#ask("netClose", { stream: this.#stream }).answer.catch(() => undefined);
  }

  async #request(op: string, body: object): Promise<unknown> {
    try {
      return await this.#ask(op, { stream: this.#stream, ...body }).answer;
    } catch (error) {
      this.#closed ||= op !== "netWrite";
      if (error instanceof Error) throw error;
      const { reason, message } = error as Refusal;
      throw new EgressError(reason, message);
    }
  }
}

function target({ url, method, headers }: Outgoing): object {
  const scheme = url.protocol.slice(0, -1);
  const port = url.port === "" ? (scheme === "http" ? 80 : 443) : Number(url.port);
  return { scheme, host: url.hostname, port, method, path: `${url.pathname}${url.search}`, headers };
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
}
