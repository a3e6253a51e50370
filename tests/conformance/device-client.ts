// A plain grpc-js client for tests that send what arc would not.

import { credentials, loadPackageDefinition, type Client, type GrpcObject, type Metadata, type ServiceClientConstructor } from "@grpc/grpc-js";
import { load } from "@grpc/proto-loader";
import { readFileSync } from "node:fs";
import type { Host } from "../stand/host.ts";
import { sha256 } from "./bundle-maker.ts";
import { enrolled, PROTO } from "./foreign.ts";

export interface Refusal {
  code: number;
  reason: string;
  details: string;
}

/** The reason inside google.rpc.ErrorInfo: the first word of capitals in the status details. */
function reasonOf(metadata: Metadata | undefined): string {
  const raw = metadata?.get("grpc-status-details-bin")[0];
  const text = raw === undefined ? "" : Buffer.from(raw as Buffer).toString("latin1");
  const at = text.indexOf("google.rpc.ErrorInfo");
  return /[A-Z][A-Z_]{2,}[A-Z]/.exec(text.slice(at + 20))?.[0] ?? "";
}

export type Stub = Client & Record<string, (...args: unknown[]) => never>;

export async function stubs(host: Host): Promise<(service: string) => Stub> {
  const api = loadPackageDefinition(await load(["tools", "bundles", "blobs", "exec", "node"].map((name) => `aria/v1/${name}.proto`), { includeDirs: [PROTO], keepCase: true, longs: String, enums: String, oneofs: true }));
  const identity = enrolled(host);
  return (service) => {
    const channel = credentials.createSsl(readFileSync(identity.ca), readFileSync(identity.key), readFileSync(identity.certificate));
    const constructor = ((api.aria as GrpcObject).v1 as GrpcObject)[service] as ServiceClientConstructor;
    return new constructor(`localhost:${host.listen.split(":").at(-1)}`, channel, { "grpc.max_send_message_length": -1 }) as unknown as Stub;
  };
}

export type Answer = { ok: true; value: unknown } | { ok: false; refusal: Refusal };

type Callback = (error: { code: number; details: string; metadata?: Metadata } | null, value: unknown) => void;

const answer = (error: Parameters<Callback>[0], value: unknown): Answer =>
  error === null ? { ok: true, value } : { ok: false, refusal: { code: error.code, details: error.details, reason: reasonOf(error.metadata) } };

export function unary(stub: Stub, method: string, request: unknown): Promise<Answer> {
  const call = stub[method]! as unknown as (request: unknown, callback: Callback) => void;
  return new Promise<Answer>((resolve) => call.call(stub, request, (error, value) => resolve(answer(error, value)))).finally(() => stub.close());
}

interface Sink {
  write(message: unknown): boolean;
  end(): void;
  cancel(): void;
  once(event: string, listener: (...args: unknown[]) => void): void;
  on(event: string, listener: (...args: unknown[]) => void): void;
}

/** Sends a first message and chunks, as UploadBundle and PutBlob take them. `claimed` lies about the whole. */
export function send(stub: Stub, method: "UploadBundle" | "PutBlob", bytes: Uint8Array, claimed: { sha256?: string; size_bytes?: number } = {}, chunk = 256 * 1024): Promise<Answer> {
  const blob = { sha256: claimed.sha256 ?? sha256(bytes), size_bytes: claimed.size_bytes ?? bytes.length };
  return raw(stub, method, function* () {
    yield { start: method === "UploadBundle" ? { file: blob } : blob };
    for (let at = 0; at < bytes.length; at += chunk) yield { chunk: bytes.subarray(at, at + chunk) };
  });
}

export function raw(stub: Stub, method: "UploadBundle" | "PutBlob", messages: () => Iterable<unknown>): Promise<Answer> {
  return new Promise<Answer>((resolve) => {
    const open = stub[method]! as unknown as (callback: Callback) => Sink;
    let over = false;
    const call = open.call(stub, (error, value) => {
      over = true;
      resolve(answer(error, value));
    });
    call.on("error", () => {});
    void (async () => {
      for (const message of messages()) {
        if (over) return;
        if (!call.write(message)) await new Promise<void>((next) => { call.once("drain", () => next()); setTimeout(next, 1_000); });
      }
      if (!over) call.end();
    })();
  }).finally(() => stub.close());
}
