//! `fetch` through the device: the web's own Request, Response and streams; only the wire is another.

import { EgressError, Exchange, type Ask, type Head, PIECE_BYTES } from "./wire.ts";
import { isRedirect, nextHop, REDIRECTS_MAX, type Hop } from "./redirect.ts";

type Native = typeof globalThis.fetch;
type Input = Parameters<Native>[0];
type Init = Parameters<Native>[1] & { readonly decompress?: boolean };

/** Statuses whose answer has no body. */
const NO_BODY = new Set([101, 103, 204, 205, 304]);
const CODINGS: Readonly<Record<string, string>> = { gzip: "gzip", "x-gzip": "gzip", deflate: "deflate", br: "brotli" };
/** Options of the runtime's own fetch that would go around the device, or through something it does not speak. */
const REFUSED = ["proxy", "unix"] as const;

/** The body to send: all of it, or as it comes. */
type Body = { readonly bytes: Uint8Array } | { readonly stream: ReadableStream<Uint8Array> } | undefined;

/** What takes the place of the global `fetch`. */
export function makeFetch(ask: Ask, native: Native): Native {
  const fetch = async (input: Input, init?: Init): Promise<Response> => {
    const text = input instanceof Request ? input.url : String(input);
    if (/^(data|blob|file):/i.test(text)) return native(input, init);
    for (const option of REFUSED) if (init && option in init && init[option as keyof Init] !== undefined) throw failed(new EgressError("UNSUPPORTED", `fetch with the option ${option} is not built`));
    const request = new Request(input as Request, init);
    request.signal.throwIfAborted();
    const url = new URL(request.url);
    if (url.protocol !== "http:" && url.protocol !== "https:") throw new TypeError(`fetch of ${url.protocol} is not built`);
    if (url.username !== "" || url.password !== "") throw new TypeError("a URL with credentials is not fetched; use the Authorization header");
    const hop = { url, method: request.method, headers: headersOf(request), hasBody: request.body !== null };
    return follow(ask, request, hop, await bodyOf(request, init?.body), init?.decompress !== false);
  };
  return Object.assign(fetch, { preconnect: () => undefined }) as Native;
}

async function follow(ask: Ask, request: Request, first: Hop, body: Body, decompress: boolean): Promise<Response> {
  let hop = first;
  for (let hops = 0; ; hops++) {
    const exchange = new Exchange(ask);
    const head = await unlessAborted(request.signal, exchange, send(exchange, hop, hop.hasBody ? body : undefined));
    const location = head.headers.find(([name]) => name === "location")?.[1];
    if (!isRedirect(head.status) || location === undefined || request.redirect === "manual") {
      return respond(exchange, head, hop, { redirected: hops > 0, signal: request.signal, decompress });
    }
    exchange.close();
    if (request.redirect === "error") throw new TypeError(`${hop.url.origin} answers with a redirect, which this fetch forbids`);
    if (hops >= REDIRECTS_MAX) throw new TypeError(`${first.url.origin} redirects more than ${REDIRECTS_MAX} times`);
    hop = nextHop(hop, head.status, location);
    if (hop.hasBody && body && "stream" in body) throw new TypeError("a body that is a stream cannot be sent again after a redirect");
  }
}

async function send(exchange: Exchange, hop: Hop, body: Body): Promise<Head> {
  try {
    if (body === undefined || ("bytes" in body && body.bytes.length <= PIECE_BYTES)) return await exchange.open(hop, body?.bytes);
    const headers = "bytes" in body ? [...hop.headers, ["content-length", String(body.bytes.length)] as const] : hop.headers;
    await exchange.openPieces({ ...hop, headers });
    if ("bytes" in body) {
      if (await exchange.write(body.bytes)) await exchange.end();
    } else if (await pour(body.stream, exchange)) await exchange.end();
    return await exchange.head();
  } catch (error) {
    exchange.close();
    throw failed(error);
  }
}

async function pour(stream: ReadableStream<Uint8Array>, exchange: Exchange): Promise<boolean> {
  for await (const piece of stream) if (!(await exchange.write(piece))) return false;
  return true;
}

interface Answered {
  readonly redirected: boolean;
  readonly signal: AbortSignal;
  readonly decompress: boolean;
}

function respond(exchange: Exchange, head: Head, hop: Hop, { redirected, signal, decompress }: Answered): Response {
  const headers = new Headers();
  for (const [name, value] of head.headers) headers.append(name, value);
  const empty = hop.method === "HEAD" || NO_BODY.has(head.status);
  if (empty) exchange.close();
  const body = empty ? null : decoded(download(exchange, signal), decompress ? headers.get("content-encoding") : null);
  const response = new Response(body, { status: head.status, statusText: head.statusText, headers });
  const url = new URL(hop.url);
  url.hash = "";
  Object.defineProperties(response, { url: { value: url.href }, redirected: { value: redirected } });
  return response;
}

function download(exchange: Exchange, signal: AbortSignal): ReadableStream<Uint8Array> {
  let stop: (() => void) | undefined;
  const over = (): void => signal.removeEventListener("abort", stop ?? (() => undefined));
  return new ReadableStream<Uint8Array>({
    start(controller) {
      stop = () => {
        exchange.close();
        controller.error(signal.reason);
      };
      signal.addEventListener("abort", stop, { once: true });
    },
    // Called once ahead of any reader, so small answers are over soon, read or not.
    async pull(controller) {
      try {
        const { bytes, end } = await exchange.read();
        if (bytes.length > 0) controller.enqueue(bytes);
        if (!end) return;
        over();
        controller.close();
      } catch (error) {
        over();
        if (!signal.aborted) controller.error(failed(error));
      }
    },
    cancel() {
      over();
      exchange.close();
    },
  });
}

function decoded(body: ReadableStream<Uint8Array>, encoding: string | null): ReadableStream<Uint8Array> {
  // The last coding was applied last.
  const codings = (encoding ?? "").split(",").map((coding) => coding.trim().toLowerCase()).filter((coding) => coding !== "" && coding !== "identity");
  const formats = codings.reverse().map((coding) => CODINGS[coding]);
  if (formats.includes(undefined)) return body;
  return formats.reduce((stream, format) => stream.pipeThrough(new DecompressionStream(format as "gzip") as unknown as ReadableWritablePair<Uint8Array, Uint8Array>), body);
}

function headersOf(request: Request): [string, string][] {
  const headers = [...request.headers] as [string, string][];
  const has = (name: string): boolean => request.headers.has(name);
  if (!has("accept")) headers.push(["accept", "*/*"]);
  if (!has("accept-encoding")) headers.push(["accept-encoding", "gzip, deflate, br"]);
  if (!has("user-agent")) headers.push(["user-agent", navigator.userAgent]);
  return headers.filter(([name]) => name !== "content-length");
}

async function bodyOf(request: Request, given: unknown): Promise<Body> {
  if (request.body === null) return undefined;
  const streamed = given instanceof ReadableStream || (typeof given === "object" && given !== null && Symbol.asyncIterator in given);
  if (streamed) return { stream: request.body as ReadableStream<Uint8Array> };
  return { bytes: new Uint8Array(await request.arrayBuffer()) };
}

async function unlessAborted<T>(signal: AbortSignal, exchange: Exchange, work: Promise<T>): Promise<T> {
  let stop: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    stop = () => {
      exchange.close();
      reject(signal.reason as Error);
    };
    signal.addEventListener("abort", stop, { once: true });
  });
  // Who loses the race is heard by nobody.
  work.catch(() => undefined);
  aborted.catch(() => undefined);
  try {
    return await Promise.race([work, aborted]);
  } finally {
    if (stop) signal.removeEventListener("abort", stop);
  }
}

/** What fetch rejects with: a TypeError whose cause says what it was. */
function failed(error: unknown): unknown {
  if (!(error instanceof EgressError)) return error;
  return Object.assign(new TypeError(error.message, { cause: error }), { code: error.code });
}
