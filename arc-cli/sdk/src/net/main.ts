//! What runs first (as a preload) in a process that holds net tokens: `fetch`, `node:http`, `node:https` and `node:dns` go through the device.
//!
//! It is a convenience and no boundary: the process has no network of its own whatever happens here.

import { Door } from "../frames.ts";
import { Requests } from "../requests.ts";
import { makeFetch } from "./fetch.ts";
import { makeClient } from "./http.ts";
import { EgressError, type Ask } from "./wire.ts";

// Not imported: an import would fix what later importers of `{ request }` see before it is replaced here.
const dns = require("node:dns") as typeof import("node:dns");
const http = require("node:http") as typeof import("node:http");
const https = require("node:https") as typeof import("node:https");

const DOOR = Symbol.for("aria.door");
const global = globalThis as { [DOOR]?: { ask?: Ask } };

/** A program of `arc exec` has the door to itself; the SDK then shares this way to it. */
function openDoor(fd: number): void {
  const requests = new Requests(new Door(fd), true);
  const host = {
    log: (level: string, message: string, fieldsJson: string) => console.error(`${level}: ${message}${fieldsJson === "{}" ? "" : ` ${fieldsJson}`}`),
    progress: () => undefined,
    ask: requests.ask.bind(requests),
  };
  Object.defineProperty(globalThis, DOOR, { value: host });
}

/** In a tool's process the harness opens the door, after this ran. */
const ask: Ask = (op, body) => {
  const way = global[DOOR]?.ask;
  if (way === undefined) throw new EgressError("NO_DEVICE", "there is no device to send requests through");
  return way(op, body);
};

function noNames(hostname: unknown): EgressError {
  return new EgressError("EGRESS_DENIED", `${String(hostname)} is not looked up here: the device resolves the names of requests (fetch, node:http) itself`);
}

/** The last argument is Node's callback. */
function refuseName(hostname: unknown, ...rest: unknown[]): void {
  const told = rest.at(-1);
  if (typeof told !== "function") throw new TypeError("a callback is missing");
  process.nextTick(told as (error: Error) => void, noNames(hostname));
}

function refuseNames(): void {
  for (const name of Object.keys(dns)) {
    if (name !== "lookup" && name !== "reverse" && name !== "lookupService" && !/^resolve/.test(name)) continue;
    (dns as unknown as Record<string, unknown>)[name] = refuseName;
    (dns.promises as unknown as Record<string, unknown>)[name] = async (hostname: unknown) => {
      throw noNames(hostname);
    };
  }
}

const own = process.env["ARIA_DOOR"];
if (own !== undefined) openDoor(Number(own));
Object.defineProperty(globalThis, "fetch", { value: makeFetch(ask, globalThis.fetch), writable: true, configurable: true, enumerable: true });
Object.assign(http, makeClient(ask, "http:"));
Object.assign(https, makeClient(ask, "https:"));
refuseNames();
globalThis.WebSocket = class {
  constructor(url: string | URL) {
    throw new EgressError("UNSUPPORTED", `WebSocket is not built: ${new URL(url).host} can be reached with fetch`);
  }
} as unknown as typeof WebSocket;
