//! `http.request`, `http.get` and their https twins through the device, as far as clients use them: bodies and answers are
//! streams, events come in Node's order. What stands on raw sockets (upgrades, agents, custom lookups) has no meaning here.

import { Readable, Writable } from "node:stream";
import { EventEmitter } from "node:events";
import { EgressError, Exchange, type Ask, type Head, PIECE_BYTES } from "./wire.ts";

type HeaderValue = string | number | readonly string[];

interface Options {
  readonly protocol?: string | null;
  readonly host?: string | null;
  readonly hostname?: string | null;
  readonly port?: number | string | null;
  readonly path?: string | null;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, HeaderValue | undefined>> | readonly string[];
  readonly auth?: string | null;
  readonly timeout?: number;
  readonly signal?: AbortSignal;
  readonly socketPath?: string;
}

type Listener = (response: IncomingMessage) => void;

/** Headers of which only the first counts, as Node has it. */
const ONCE = new Set(["age", "authorization", "content-length", "content-type", "etag", "expires", "from", "host", "if-modified-since", "if-unmodified-since", "last-modified", "location", "max-forwards", "proxy-authorization", "referer", "retry-after", "server", "user-agent"]);

/** `request` and `get` for one scheme. */
export function makeClient(ask: Ask, scheme: "http:" | "https:") {
  const request = (...args: unknown[]): ClientRequest => new ClientRequest(ask, scheme, args);
  const get = (...args: unknown[]): ClientRequest => {
    const made = request(...args);
    made.end();
    return made;
  };
  return { request, get };
}

/** Stands where a socket would: clients set options on it and listen to it. */
class NoSocket extends EventEmitter {
  readonly connecting = false;
  readonly authorized = true;
  readonly encrypted: boolean;
  readonly readable = true;
  writable = true;
  destroyed = false;

  constructor(encrypted: boolean) {
    super();
    this.encrypted = encrypted;
    this.setMaxListeners(0);
  }

  setKeepAlive = (): this => this;
  setNoDelay = (): this => this;
  setTimeout = (): this => this;
  ref = (): this => this;
  unref = (): this => this;
  cork = (): void => undefined;
  uncork = (): void => undefined;
  end = (): this => this;

  destroy = (): this => {
    if (!this.destroyed) {
      this.destroyed = true;
      this.writable = false;
      this.emit("close");
    }
    return this;
  };
}

/** The answer, as Node's class of the same name. */
export class IncomingMessage extends Readable {
  readonly statusCode: number;
  readonly statusMessage: string;
  readonly headers: Record<string, string | string[]> = {};
  readonly rawHeaders: string[];
  readonly httpVersion = "1.1";
  readonly httpVersionMajor = 1;
  readonly httpVersionMinor = 1;
  readonly trailers = {};
  readonly rawTrailers: string[] = [];
  readonly url = "";
  readonly method = null;
  complete = false;
  aborted = false;
  readonly req: ClientRequest;
  readonly socket: NoSocket;
  readonly connection: NoSocket;
  readonly #exchange: Exchange;

  constructor(req: ClientRequest, exchange: Exchange, head: Head) {
    super();
    this.req = req;
    this.socket = this.connection = req.socket;
    this.#exchange = exchange;
    this.statusCode = head.status;
    this.statusMessage = head.statusText;
    this.rawHeaders = head.headers.flatMap(([name, value]) => [name, value]);
    for (const [name, value] of head.headers) this.#add(name, value);
  }

  #add(name: string, value: string): void {
    const before = this.headers[name];
    if (name === "set-cookie") this.headers[name] = [...((before as string[] | undefined) ?? []), value];
    else if (before === undefined) this.headers[name] = value;
    else if (!ONCE.has(name)) this.headers[name] = `${String(before)}${name === "cookie" ? "; " : ", "}${value}`;
  }

  get headersDistinct(): Record<string, string[]> {
    const distinct: Record<string, string[]> = {};
    for (let at = 0; at < this.rawHeaders.length; at += 2) (distinct[this.rawHeaders[at] ?? ""] ??= []).push(this.rawHeaders[at + 1] ?? "");
    return distinct;
  }

  setTimeout(ms: number, listener?: () => void): this {
    this.req.setTimeout(ms, listener);
    return this;
  }

  override _read(): void {
    this.#exchange.read().then(
      ({ bytes, end }) => {
        this.req.alive();
        if (bytes.length > 0) this.push(bytes);
        if (!end) return bytes.length === 0 ? this._read() : undefined;
        this.complete = true;
        this.push(null);
      },
      (error: Error) => this.destroy(error),
    );
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    if (!this.complete) {
      this.aborted = true;
      this.#exchange.close();
      this.emit("aborted");
    }
    this.req.over();
    done(error);
  }
}

/** The request, as Node's class of the same name. */
export class ClientRequest extends Writable {
  readonly method: string;
  readonly protocol: string;
  readonly host: string;
  readonly path: string;
  readonly socket: NoSocket;
  readonly connection: NoSocket;
  readonly reusedSocket = false;
  readonly maxHeadersCount = null;
  aborted = false;
  res: IncomingMessage | undefined;
  readonly #url: URL;
  readonly #exchange: Exchange;
  readonly #headers = new Map<string, readonly [string, HeaderValue]>();
  /** The body, as long as it may go out in one frame. */
  #held: Uint8Array[] = [];
  #heldBytes = 0;
  #streaming: Promise<void> | undefined;
  #unwanted = false;
  #timeoutMs = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(ask: Ask, scheme: "http:" | "https:", args: unknown[]) {
    // Sent is not over: the answer is still to come.
    super({ decodeStrings: true, autoDestroy: false });
    const { options, listener } = normalise(args);
    if (options.socketPath !== undefined) throw new EgressError("UNSUPPORTED", "a request over a Unix socket is not built");
    this.protocol = options.protocol ?? scheme;
    if (this.protocol !== "http:" && this.protocol !== "https:") throw Object.assign(new TypeError(`Protocol "${this.protocol}" not supported. Expected "${scheme}"`), { code: "ERR_INVALID_PROTOCOL" });
    this.host = options.hostname ?? options.host ?? "localhost";
    this.path = options.path ?? "/";
    this.method = (options.method ?? "GET").toUpperCase();
    this.socket = this.connection = new NoSocket(this.protocol === "https:");
    this.#exchange = new Exchange(ask);
    this.#url = urlOf(this.protocol, this.host, options.port, this.path);
    if (Array.isArray(options.headers)) for (let at = 0; at + 1 < options.headers.length; at += 2) this.appendHeader(options.headers[at], options.headers[at + 1]);
    else for (const [name, value] of Object.entries(options.headers ?? {})) if (value !== undefined) this.setHeader(name, value as HeaderValue);
    if (options.auth && !this.hasHeader("authorization")) this.setHeader("Authorization", `Basic ${Buffer.from(options.auth).toString("base64")}`);
    if (listener) this.once("response", listener);
    if (options.timeout !== undefined) this.setTimeout(options.timeout);
    const { signal } = options;
    if (signal) {
      const abort = (): void => void this.destroy(Object.assign(new Error("The operation was aborted", { cause: signal.reason }), { name: "AbortError", code: "ABORT_ERR" }));
      if (signal.aborted) process.nextTick(abort);
      else signal.addEventListener("abort", abort, { once: true });
    }
    process.nextTick(() => this.destroyed || (this.emit("socket", this.socket), this.socket.emit("connect"), this.socket.emit("secureConnect")));
  }

  setHeader(name: string, value: HeaderValue): this {
    this.#headers.set(String(name).toLowerCase(), [String(name), value]);
    return this;
  }

  appendHeader(name: string, value: HeaderValue): this {
    const before = this.#headers.get(name.toLowerCase())?.[1];
    return this.setHeader(name, before === undefined ? value : [before, value].flat().map(String));
  }

  getHeader(name: string): HeaderValue | undefined {
    return this.#headers.get(name.toLowerCase())?.[1];
  }

  getHeaderNames(): string[] {
    return [...this.#headers.keys()];
  }

  getRawHeaderNames(): string[] {
    return [...this.#headers.values()].map(([name]) => name);
  }

  getHeaders(): Record<string, HeaderValue> {
    return Object.fromEntries([...this.#headers].map(([name, [, value]]) => [name, value]));
  }

  hasHeader(name: string): boolean {
    return this.#headers.has(name.toLowerCase());
  }

  removeHeader(name: string): void {
    this.#headers.delete(name.toLowerCase());
  }

  get headersSent(): boolean {
    return this.#streaming !== undefined || this.writableFinished;
  }

  get finished(): boolean {
    return this.writableEnded;
  }

  flushHeaders(): void {
    // The head goes out with the body's first piece or its end.
  }

  setNoDelay(): void {
    // The device sends at once.
  }

  setSocketKeepAlive(): void {
    // Each request has a connection of its own.
  }

  /** Emits `timeout` when nothing happens for so long, as Node does; ending it is the listener's business. */
  setTimeout(ms: number, listener?: () => void): this {
    this.#timeoutMs = ms;
    if (listener) this.once("timeout", listener);
    this.alive();
    return this;
  }

  /** Something happened. */
  alive(): void {
    clearTimeout(this.#timer);
    if (this.#timeoutMs > 0 && !this.destroyed) this.#timer = setTimeout(() => this.emit("timeout"), this.#timeoutMs);
  }

  /** The answer is over. */
  over(): void {
    clearTimeout(this.#timer);
    this.#timeoutMs = 0;
    this.destroy();
    this.socket.destroy();
  }

  abort(): void {
    if (this.aborted) return;
    this.aborted = true;
    process.nextTick(() => this.emit("abort"));
    this.destroy(Object.assign(new Error("socket hang up"), { code: "ECONNRESET" }));
  }

  override _write(chunk: Uint8Array, _encoding: string, done: (error?: Error | null) => void): void {
    this.alive();
    if (this.#streaming === undefined && this.#heldBytes + chunk.length <= PIECE_BYTES) {
      this.#held.push(chunk);
      this.#heldBytes += chunk.length;
      return done();
    }
    this.#stream(chunk).then(() => done(), done);
  }

  override _final(done: (error?: Error | null) => void): void {
    const body = this.#heldBytes > 0 ? Buffer.concat(this.#held) : undefined;
    const head = this.#streaming === undefined ? this.#exchange.open(this.#outgoing(), body) : this.#ended();
    // Sent is sent; the answer has its own events.
    done();
    head.then((found) => this.#answered(found), (error: Error) => this.destroy(error));
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    clearTimeout(this.#timer);
    if (this.res === undefined) {
      this.#exchange.close();
      this.socket.destroy();
    } else if (!this.res.complete) this.res.destroy(error ?? undefined);
    done(error);
  }

  async #stream(chunk: Uint8Array): Promise<void> {
    if (this.#streaming === undefined) {
      this.#streaming = this.#exchange.openPieces(this.#outgoing());
      const held = this.#held;
      this.#held = [];
      await this.#streaming;
      for (const piece of held) await this.#piece(piece);
    }
    await this.#piece(chunk);
  }

  async #piece(chunk: Uint8Array): Promise<void> {
    // An early answer makes the rest pointless; the writer is not told, as Node would not either.
    if (!this.#unwanted) this.#unwanted = !(await this.#exchange.write(chunk));
  }

  async #ended(): Promise<Head> {
    if (!this.#unwanted) await this.#exchange.end();
    return this.#exchange.head();
  }

  #outgoing() {
    const headers = [...this.#headers.values()].flatMap(([name, value]) => [value].flat().map((one) => [name, String(one)] as const));
    return { url: this.#url, method: this.method, headers };
  }

  #answered(head: Head): void {
    if (this.destroyed) return this.#exchange.close();
    this.alive();
    const response = (this.res = new IncomingMessage(this, this.#exchange, head));
    // Nobody asked for the answer, so it is read and forgotten.
    if (!this.emit("response", response)) response.resume();
  }
}

function normalise(args: unknown[]): { options: Options; listener: Listener | undefined } {
  const listener = args.find((arg): arg is Listener => typeof arg === "function");
  const [first, second] = args;
  if (typeof first !== "string" && !(first instanceof URL)) return { options: { ...(first as Options | undefined) }, listener };
  const url = new URL(first);
  const auth = url.username === "" ? undefined : `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
  const given = typeof second === "object" && second !== null ? (second as Options) : {};
  return { options: { protocol: url.protocol, hostname: url.hostname, port: url.port, path: `${url.pathname}${url.search}`, ...(auth ? { auth } : {}), ...given }, listener };
}

function urlOf(protocol: string, host: string, port: number | string | null | undefined, path: string): URL {
  const bare = host.includes(":") && !host.startsWith("[") ? `[${host}]` : host;
  const url = new URL(`${protocol}//${bare}${port === undefined || port === null || port === "" ? "" : `:${port}`}/`);
  const [pathname = "/", ...search] = path.split("#", 1)[0]?.split("?") ?? [];
  url.pathname = pathname;
  url.search = search.join("?");
  return url;
}
