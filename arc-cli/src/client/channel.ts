//! One HTTP/2 connection to a device: mutual TLS with the pinned authority, or the Unix socket of this machine.

import { closeSync, openSync } from "node:fs";
import { connect as connectSocket } from "node:net";
import { connect as connectTls } from "node:tls";
import { Code, ConnectError, createClient, type Client, type Transport } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { Audit } from "../gen/aria/v1/audit_pb.ts";
import { Blobs } from "../gen/aria/v1/blobs_pb.ts";
import { Bundles } from "../gen/aria/v1/bundles_pb.ts";
import { Exec } from "../gen/aria/v1/exec_pb.ts";
import { Leases } from "../gen/aria/v1/leases_pb.ts";
import { Node } from "../gen/aria/v1/node_pb.ts";
import { Policy } from "../gen/aria/v1/policy_pb.ts";
import { Runs } from "../gen/aria/v1/runs_pb.ts";
import { Secrets } from "../gen/aria/v1/secrets_pb.ts";
import { Tools } from "../gen/aria/v1/tools_pb.ts";
import { Trust } from "../gen/aria/v1/trust_pb.ts";
import { UserError } from "../errors.ts";
import { deviceError, errorCode, refusedCertificate } from "./status.ts";

/** Credentials of one TLS connection, PEM texts. */
export interface TlsTarget {
  readonly kind: "tls";
  readonly host: string;
  readonly port: number;
  /** The only authority that counts. */
  readonly ca: string;
  readonly certificate: string;
  readonly key: string;
  /** The name the server's certificate must carry. */
  readonly serverName: string;
}

export interface SocketTarget {
  readonly kind: "socket";
  readonly path: string;
}

export type Target = TlsTarget | SocketTarget;

/** The services of one device over one connection. */
export interface Device {
  readonly node: Client<typeof Node>;
  readonly bundles: Client<typeof Bundles>;
  readonly blobs: Client<typeof Blobs>;
  readonly tools: Client<typeof Tools>;
  readonly exec: Client<typeof Exec>;
  readonly policy: Client<typeof Policy>;
  readonly audit: Client<typeof Audit>;
  readonly leases: Client<typeof Leases>;
  readonly runs: Client<typeof Runs>;
  readonly secrets: Client<typeof Secrets>;
  readonly trust: Client<typeof Trust>;
  /** Turns a failure of a call on this connection into an error for people. */
  explain(error: unknown, doing: string): Promise<UserError>;
  close(): void;
}

const CONNECT_TIMEOUT_MS = 10_000;
const PROBE_TIMEOUT_MS = 2000;
/** Control messages are at most 4 MiB (decisions: payloads); one more byte is a broken or hostile device. */
const MESSAGE_BYTES_MAX = 4 * 1024 * 1024 + 64 * 1024;
/** `sun_path` holds this many bytes and a NUL. */
const SOCKET_PATH_BYTES_MAX = 107;

/** Connects (so that an unreachable device is found now, not in the middle) and hands out the clients. */
export async function openDevice(target: Target, signal: AbortSignal, doing: string): Promise<Device> {
  const socket = target.kind === "socket" ? socketPath(target.path) : undefined;
  const url = target.kind === "socket" ? "http://localhost" : `https://${urlHost(target.host)}:${target.port}`;
  const manager = new Http2SessionManager(url, { pingIntervalMs: 20_000, pingTimeoutMs: 20_000 }, sessionOptions(target, socket?.path));
  const close = (): void => {
    manager.abort();
    socket?.release();
  };
  try {
    await connected(manager, signal);
  } catch (error) {
    close();
    throw deviceError(error, doing);
  }
  const transport: Transport = createGrpcTransport({ baseUrl: url, sessionManager: manager, readMaxBytes: MESSAGE_BYTES_MAX });
  return {
    node: createClient(Node, transport),
    bundles: createClient(Bundles, transport),
    blobs: createClient(Blobs, transport),
    tools: createClient(Tools, transport),
    exec: createClient(Exec, transport),
    policy: createClient(Policy, transport),
    audit: createClient(Audit, transport),
    leases: createClient(Leases, transport),
    runs: createClient(Runs, transport),
    secrets: createClient(Secrets, transport),
    trust: createClient(Trust, transport),
    explain: (error, what) => explain(error, what, target, signal),
    close,
  };
}

async function connected(manager: Http2SessionManager, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let stop: (() => void) | undefined;
  const gaveUp = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(Object.assign(new Error("no connection in time"), { code: "ARC_CONNECT_TIMEOUT" })), CONNECT_TIMEOUT_MS);
    stop = () => reject(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
  });
  try {
    const state = await Promise.race([manager.connect(), gaveUp]);
    if (state === "error") throw manager.error() ?? new ConnectError("no connection", Code.Unavailable);
  } finally {
    clearTimeout(timer);
    if (stop !== undefined) signal.removeEventListener("abort", stop);
  }
}

// `rejectUnauthorized` is said aloud because NODE_TLS_REJECT_UNAUTHORIZED=0 in somebody's shell would otherwise switch it off.
function sessionOptions(target: Target, path: string | undefined): object {
  if (target.kind === "socket") return { createConnection: () => connectSocket({ path: path ?? target.path }) };
  return { ca: target.ca, cert: target.certificate, key: target.key, servername: target.serverName, minVersion: "TLSv1.2", rejectUnauthorized: true };
}

/** A path too long for the kernel's address is reached through an open descriptor of the socket. */
function socketPath(path: string): { path: string; release: () => void } {
  if (Buffer.byteLength(path) <= SOCKET_PATH_BYTES_MAX) return { path, release: () => undefined };
  const O_PATH = 0o10000000;
  try {
    const descriptor = openSync(path, O_PATH);
    return { path: `/proc/self/fd/${descriptor}`, release: () => closeSync(descriptor) };
  } catch (error) {
    throw deviceError(error, `open ${path}`);
  }
}

function urlHost(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}

/**
 * With TLS 1.3 a refused client certificate shows only after the handshake, and a reset can overtake the alert.
 * So when a call ended without any answer from the device, one quiet handshake finds out why.
 */
async function explain(error: unknown, doing: string, target: Target, signal: AbortSignal): Promise<UserError> {
  if (error instanceof UserError || target.kind === "socket" || signal.aborted) return deviceError(error, doing);
  const failure = ConnectError.from(error);
  const silent = failure.details.length === 0 && [...failure.metadata].length === 0;
  const code = errorCode(failure) ?? "";
  if (!silent || code.includes("ALERT") || code === "ECONNREFUSED") return deviceError(error, doing);
  const alert = await probe(target);
  return alert === undefined ? deviceError(error, doing) : refusedCertificate(doing, alert, failure);
}

/** Why the device ends a connection right after the handshake, or undefined when it does not. */
function probe(target: TlsTarget): Promise<string | undefined> {
  const { promise, resolve } = Promise.withResolvers<string | undefined>();
  const { host, port, ca, certificate: cert, key, serverName: servername } = target;
  const socket = connectTls({ host, port, ca, cert, key, servername, ALPNProtocols: ["h2"], rejectUnauthorized: true });
  let shaken = false;
  socket.setTimeout(PROBE_TIMEOUT_MS, () => resolve(undefined));
  socket.on("secureConnect", () => (shaken = true));
  // The first bytes after the handshake are the device's HTTP/2 settings: it accepted us.
  socket.on("data", () => resolve(undefined));
  socket.on("error", (error) => {
    const code = errorCode(error) ?? "";
    resolve(code.includes("ALERT") ? code : shaken && code === "ECONNRESET" ? "connection closed after the handshake" : undefined);
  });
  socket.on("close", () => resolve(shaken ? "connection closed after the handshake" : undefined));
  return promise.finally(() => socket.destroy());
}
