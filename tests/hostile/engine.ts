// The engine without anything in front of it: a plain client of quilt.v1 on its Unix socket, for drivers that start and stop cages
// by the thousand, at moments and in ways arc never would.

import { credentials, loadPackageDefinition, type Client, type ClientReadableStream, type GrpcObject, type ServiceClientConstructor } from "@grpc/grpc-js";
import { load } from "@grpc/proto-loader";
import { join } from "node:path";
import { root } from "../stand/host.ts";

const PROTO = join(root, "crates/protocol/proto");
/** What is kept of a program's output. */
const HEAD_CHARS_MAX = 8192;

export interface Request {
  argv: string[];
  env?: Record<string, string>;
  profile?: "PROFILE_TOOL" | "PROFILE_TOOL_NOEXEC" | "PROFILE_TOOL_NOJIT";
  owner?: string;
  tokens?: string[];
  /** Directory below a code root, at /app. */
  codeDir?: string;
  door?: Uint8Array[];
  limits?: Record<string, number>;
  /** Frame that makes a sandbox ready ahead of any call like this one. */
  prepare?: Uint8Array;
  /** Key of a shelf of its own, and the frame for it. */
  shelf?: { key: string; prepare: Uint8Array };
  /** Gets all of stdout and stderr as it comes. */
  onOutput?: (stream: "stdout" | "stderr", data: Uint8Array) => void;
  parent?: string;
  out?: boolean;
}

export type Origin = "UNSPECIFIED" | "NEW" | "GENERIC" | "SHELF";

/** How one execution went, as its stream told it. */
export interface Told {
  /** Kinds of events in the order they came, repeats of one kind left out. */
  events: string[];
  /** `ended` messages; anything but one is a defect, or none for a stream that was cut. */
  ends: { reason: string; exit_code: number; signal: number; detail: string }[];
  head: string;
  frames: string[];
  lease: { id: string; fence: number };
  /** The sandbox, and whether it was made ahead of the call, by the engine's word. */
  sandbox: { id: string; origin: Origin };
  /** gRPC's own end: 0, or a code with its text. */
  status: { code: number; details: string };
}

export interface Running {
  id: string;
  cancel(): void;
  /** Resolves at the end of the stream. */
  done: Promise<Told>;
  /** Resolves when an event of this kind has come, or the stream has ended. */
  seen(kind: string): Promise<void>;
}

interface Message {
  event?: string;
  [field: string]: unknown;
}

export function newId(): string {
  return Buffer.from(crypto.getRandomValues(new Uint8Array(16))).toString("hex");
}

export class EngineClient {
  readonly #client: Client & Record<string, (request: unknown, callback?: unknown) => unknown>;

  private constructor(client: Client) {
    this.#client = client as never;
  }

  static async connect(socket: string): Promise<EngineClient> {
    const options = { includeDirs: [PROTO], keepCase: true, longs: Number, enums: String, oneofs: true, defaults: true };
    const api = loadPackageDefinition(await load(["quilt/v1/sync_engine.proto"], options));
    const constructor = ((api.quilt as GrpcObject).v1 as GrpcObject).SyncEngine as ServiceClientConstructor;
    return new EngineClient(new constructor(`unix:${socket}`, credentials.createInsecure(), { "grpc.default_authority": "localhost" }));
  }

  close(): void {
    this.#client.close();
  }

  execute(request: Request, id = newId()): Running {
    const stream = this.#client.Execute!({
      execution_id: id, owner: request.owner ?? "hostile", tokens: request.tokens ?? [], parent_execution_id: request.parent ?? "",
      program: {
        argv: request.argv, env: request.env ?? {}, profile: request.profile ?? "PROFILE_TOOL", code_dir: request.codeDir ?? "", guest_door: request.door !== undefined,
        door_frames: request.door ?? [], collect_out: request.out ?? false, warm: request.prepare !== undefined, prepare: request.prepare ?? new Uint8Array(0),
        shelf: request.shelf?.key ?? "", prepare_shelf: request.shelf?.prepare ?? new Uint8Array(0),
      },
      limits: request.limits ?? {},
    }) as ClientReadableStream<Message>;
    const told: Told = { events: [], ends: [], head: "", frames: [], lease: { id: "", fence: 0 }, sandbox: { id: "", origin: "UNSPECIFIED" }, status: { code: -1, details: "" } };
    const waiting = new Map<string, () => void>();
    stream.on("data", (message: Message) => {
      const kind = message.event ?? "none";
      if (told.events.at(-1) !== kind) told.events.push(kind);
      waiting.get(kind)?.();
      const body = message[kind] as never;
      if (kind === "ended") told.ends.push(body);
      if (kind === "granted") told.lease = { id: (body as { lease_id: string }).lease_id, fence: (body as { fence: number }).fence };
      if (kind === "started") {
        const { sandbox_id, origin } = body as { sandbox_id: string; origin: string };
        told.sandbox = { id: sandbox_id, origin: origin.replace("SANDBOX_ORIGIN_", "") as Origin };
      }
      if (kind === "output") {
        const { stream: from, data } = body as { stream: string; data: Uint8Array };
        request.onOutput?.(from === "OUTPUT_STREAM_STDERR" ? "stderr" : "stdout", data);
      }
      if (kind === "output" && told.head.length < HEAD_CHARS_MAX) told.head += (body as { data: Buffer }).data.toString("latin1").slice(0, HEAD_CHARS_MAX);
      if (kind === "guest_frame" && told.frames.length < 64) told.frames.push((body as Buffer).toString("utf8").slice(0, HEAD_CHARS_MAX));
    });
    const done = new Promise<Told>((resolve) => {
      stream.on("error", () => {});
      stream.on("status", (status: { code: number; details: string }) => {
        told.status = { code: status.code, details: status.details };
        for (const wake of waiting.values()) wake();
        resolve(told);
      });
    });
    return {
      id, done,
      cancel: () => stream.cancel(),
      seen: (kind) => (told.events.includes(kind) || told.status.code >= 0 ? Promise.resolve() : new Promise((resolve) => waiting.set(kind, resolve))),
    };
  }

  status(): Promise<{ leases: { execution_id: string }[]; sandboxes: number; waiting: number; waiters?: unknown[]; layers: { name: string; state: string }[] }> {
    return new Promise((resolve, reject) => this.#client.Status!({}, (error: Error | null, value: never) => (error === null ? resolve(value) : reject(error))));
  }
}
