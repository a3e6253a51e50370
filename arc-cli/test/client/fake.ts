//! A device for tests: a grpc-js server (not the library arc uses) that speaks aria.v1 over mutual TLS and over a socket.
//!
//! Bundles and blobs live in memory and programs are played by the test. The fake checks what a real device would check about
//! the protocol: order of messages, digests, sizes.

import { createHash } from "node:crypto";
import { EventEmitter, once } from "node:events";
import { type DescService, create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { Metadata, Server, ServerCredentials, status } from "@grpc/grpc-js";
import { Audit } from "../../src/gen/aria/v1/audit_pb.ts";
import { Blobs } from "../../src/gen/aria/v1/blobs_pb.ts";
import { Bundles } from "../../src/gen/aria/v1/bundles_pb.ts";
import type { RunEventSchema } from "../../src/gen/aria/v1/common_pb.ts";
import { Exec, type RunStart } from "../../src/gen/aria/v1/exec_pb.ts";
import { Leases } from "../../src/gen/aria/v1/leases_pb.ts";
import { Node } from "../../src/gen/aria/v1/node_pb.ts";
import { Policy } from "../../src/gen/aria/v1/policy_pb.ts";
import { type InvokeRequest, Tools } from "../../src/gen/aria/v1/tools_pb.ts";
import { authorityDigest, interfaceDigest } from "../../src/bundle/digest.ts";
import { openBundle } from "../../src/bundle/layout.ts";
import type { Manifest } from "../../src/bundle/manifest.ts";
import { type ListRunsRequest, Runs, type RunSchema } from "../../src/gen/aria/v1/runs_pb.ts";
import { Trust } from "../../src/gen/aria/v1/trust_pb.ts";
import { Authority } from "./authority.ts";

export type Event = MessageInitShape<typeof RunEventSchema>["event"];

/** A run in progress on the fake: say events, read stdin, notice the cancel. */
export interface FakeRun {
  say(event: Event): Promise<void>;
  readonly cancelled: Promise<void>;
  readonly stdin: AsyncIterable<Uint8Array>;
}

/** A refusal with the details a real device adds. */
export class Refusal extends Error {
  constructor(
    readonly code: status,
    readonly reason: string,
    message: string,
    readonly metadata: Readonly<Record<string, string>> = {},
  ) {
    super(message);
  }
}

export interface Installed {
  readonly name: string;
  readonly version: string;
  readonly digest: string;
  readonly tools: readonly string[];
  readonly bytes: number;
  /** Of a real bundle; a played one has none. */
  readonly manifest?: Manifest;
}

// grpc-js calls are untyped at this seam: one adapter turns every service into plain functions of messages.
type Call = EventEmitter & { request: never; write(message: unknown): boolean; end(): void; pause(): void; resume(): void; cancelled: boolean; getPeer(): string; destroy(error: unknown): void };
type Handler = (call: Call) => Promise<unknown>;

export class FakeDevice {
  readonly authority = new Authority("fake");
  readonly blobs = new Map<string, Uint8Array>();
  readonly installed: Installed[] = [];
  /** Installed bundles by the digest of their file. */
  readonly files = new Map<string, Installed>();
  /** Beginnings of blobs whose upload broke. */
  readonly held = new Map<string, Uint8Array>();
  commits = 0;
  receivedBytes = 0;
  /** After so many bytes of chunks every connection breaks, once. */
  breakAfterBytes = Number.POSITIVE_INFINITY;
  readonly calls: string[] = [];
  readonly runs: RunStart[] = [];
  readonly invocations: InvokeRequest[] = [];
  nodeId = "fake-1";
  time: () => Date = () => new Date();
  quiltUp = true;
  certificateDays = 10;
  subjectsTaken = new Set<string>();
  enrolClosed = false;
  chunkBytesMax = 0;
  /** How a tool behaves. */
  tools: Record<string, (input: string, run: FakeRun, request: InvokeRequest) => Promise<void>> = {};
  schemas: Record<string, string> = {};
  program: (start: RunStart, run: FakeRun) => Promise<void> = async (_start, run) => run.say(finished(succeeded("")));
  logs: { time: string; invocationId: string; tool: string; source: string; level: string; text: string }[] = [];
  rules: { name: string; kinds: string[]; tokens: string[]; owners: string[]; subjects: string[]; origin: string }[] = [];
  rulesDamaged = "";
  signers: { keyId: string; publisher: string; publicKey: Uint8Array; trustedAt: string; trustedBy: string; revokedAt: string }[] = [];
  /** What a bundle may touch more than the one before; its upload is refused without acceptance. */
  widens: { authority: string; changes: { tool: string; wider: boolean; touch: string }[] } | undefined;
  events: Record<string, unknown>[] = [];
  /** What the last call of the audit asked for. */
  auditAsked: unknown;
  snapshots: Record<string, unknown>[] = [{}];
  /** What `arc runs` finds, newest first. */
  kept: MessageInitShape<typeof RunSchema>[] = [];
  listen = "";
  readonly #servers: Server[] = [];

  /** Opens TCP with mutual TLS; answers `127.0.0.1:port`. */
  async listenTls(names: readonly string[] = [this.nodeId, "localhost"]): Promise<string> {
    const leaf = this.authority.server(names);
    const pair = { private_key: Buffer.from(leaf.key), cert_chain: Buffer.from(leaf.certificate) };
    const port = await this.#bind("127.0.0.1:0", ServerCredentials.createSsl(Buffer.from(this.authority.pem), [pair], true));
    this.listen = `127.0.0.1:${port}`;
    return this.listen;
  }

  /** The same without asking for a client certificate signed by the authority: the enrolment window. */
  async listenForEnrolment(): Promise<string> {
    const leaf = this.authority.server([this.nodeId, "localhost"]);
    const pair = { private_key: Buffer.from(leaf.key), cert_chain: Buffer.from(leaf.certificate) };
    const port = await this.#bind("127.0.0.1:0", ServerCredentials.createSsl(null, [pair], false));
    return `127.0.0.1:${port}`;
  }

  async listenSocket(path: string): Promise<void> {
    await this.#bind(`unix:${path}`, ServerCredentials.createInsecure());
  }

  stop(): void {
    for (const server of this.#servers.splice(0)) server.forceShutdown();
  }

  /** Every open connection ends as when a cable is pulled; new ones are taken. */
  breakLinks(): void {
    for (const server of this.#servers) for (const session of sessionsOf(server)) session.destroy();
  }

  async #bind(address: string, credentials: ServerCredentials): Promise<number> {
    const server = new Server({ "grpc.max_receive_message_length": 2 * 1024 * 1024 });
    this.#add(server, Node, { getNode: (call) => this.#getNode(call), enroll: (call) => this.#enroll(call), streamLogs: (call) => this.#streamLogs(call) });
    this.#add(server, Bundles, {
      uploadBundle: (call) => this.#upload(call),
      commitBundle: (call) => this.#commit(call),
      pinBundle: async (call) => ({ bundle: this.#bundle(this.#find(call.request)) }),
      listBundles: async () => ({ bundles: this.installed.map((bundle) => this.#bundle(bundle)) }),
      getBundle: async (call) => ({ bundle: this.#bundle(this.#find(call.request)), manifestJson: JSON.stringify(this.#find(call.request).manifest ?? {}) }),
      removeBundle: (call) => this.#remove(call),
    });
    this.#add(server, Blobs, { findMissing: (call) => this.#findMissing(call), putBlob: (call) => this.#putBlob(call), getBlob: (call) => this.#getBlob(call) });
    this.#add(server, Tools, {
      listTools: async () => ({ tools: [...new Set([...Object.keys(this.tools), ...this.installed.flatMap(({ name, manifest }) => (manifest?.tools ?? []).map((tool) => `${name}.${tool.name}`))])].map((name) => ({ name })) }),
      getTool: async (call) => this.#getTool((call.request as { name: string }).name),
      invoke: (call) => this.#invoke(call),
    });
    this.#add(server, Runs, { listRuns: async (call) => this.#listRuns(call.request), getRun: async (call) => ({ run: this.#keptRun(call.request) }) });
    this.#add(server, Exec, { run: (call) => this.#run(call) });
    this.#add(server, Policy, { listRules: async () => ({ rules: this.rules, damaged: this.rulesDamaged }), addRule: (call) => this.#addRule(call), removeRule: (call) => this.#removeRule(call) });
    this.#add(server, Audit, { list: (call) => this.#audit(call) });
    this.#add(server, Leases, { list: (call) => this.#leases(call) });
    this.#add(server, Trust, { listSigners: async () => ({ signers: this.signers }), trustSigner: (call) => this.#trustSigner(call), revokeSigner: (call) => this.#revokeSigner(call) });
    this.#servers.push(server);
    return await new Promise((resolve, reject) => server.bindAsync(address, credentials, (error, port) => (error === null ? resolve(port) : reject(error))));
  }

  #add(server: Server, service: DescService, handlers: Record<string, Handler>): void {
    const definition: Record<string, unknown> = {};
    const implementation: Record<string, unknown> = {};
    for (const method of service.methods) {
      const handler = handlers[method.localName];
      const responseStream = method.methodKind === "server_streaming" || method.methodKind === "bidi_streaming";
      const requestStream = method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming";
      definition[method.localName] = {
        path: `/${service.typeName}/${method.name}`,
        requestStream,
        responseStream,
        requestSerialize: () => Buffer.alloc(0),
        requestDeserialize: (bytes: Buffer) => fromBinary(method.input, bytes),
        responseSerialize: (message: never) => Buffer.from(toBinary(method.output, create(method.output, message))),
        responseDeserialize: (bytes: Buffer) => bytes,
      };
      if (handler === undefined) continue;
      implementation[method.localName] = (call: Call, callback?: (error: unknown, value?: unknown) => void) => {
        this.calls.push(method.name);
        handler(call).then(
          (value) => (responseStream ? call.end() : callback?.(null, value)),
          (error: unknown) => (responseStream ? call.emit("error", wire(error)) : callback?.(wire(error))),
        );
      };
    }
    server.addService(definition as never, implementation as never);
  }

  async #getNode(_call: Call): Promise<unknown> {
    return { nodeId: this.nodeId, version: "0.1.0", protocolMin: 1, protocolMax: 1, time: this.time().toISOString(), arch: "x86_64", subject: "ann", role: "operator", sandboxLayers: ["cgroup: v1", "seccomp"], quiltUp: this.quiltUp, uptimeMs: 1000n, execEnabled: true };
  }

  async #enroll(call: Call): Promise<unknown> {
    if (this.enrolClosed) throw new Refusal(status.PERMISSION_DENIED, "ENROLMENT_CLOSED", "the window is over");
    const { csrDer, subject } = call.request as { csrDer: Uint8Array; subject: string };
    if (this.subjectsTaken.has(subject)) throw new Refusal(status.ALREADY_EXISTS, "SUBJECT_TAKEN", "another key has this subject");
    return { certificatePem: this.authority.sign(csrDer, subject, this.certificateDays), caPem: this.authority.pem, nodeId: this.nodeId, role: "operator", listen: this.listen };
  }

  async #streamLogs(call: Call): Promise<void> {
    const { tool, invocationId, follow } = call.request as { tool: string; invocationId: string; follow: boolean };
    for (const line of this.logs) if ((tool === "" || line.tool === tool) && (invocationId === "" || line.invocationId === invocationId)) call.write(line);
    if (follow) await once(call, "cancelled");
  }

  async #addRule(call: Call): Promise<unknown> {
    const { rule } = call.request as { rule: FakeDevice["rules"][number] };
    const name = rule.name === "" ? [...rule.tokens, ...rule.kinds, ...rule.owners].join("-").replaceAll(":", ".") : rule.name;
    const there = this.rules.find((known) => known.name === name);
    if (there !== undefined && JSON.stringify(there.tokens) !== JSON.stringify(rule.tokens)) throw new Refusal(status.ALREADY_EXISTS, "RULE_EXISTS", `rule ${name} exists`);
    const added = { ...rule, name, origin: "device" };
    if (there === undefined) this.rules.push(added);
    return { rule: added, alreadyPresent: there !== undefined };
  }

  async #removeRule(call: Call): Promise<unknown> {
    const { name } = call.request as { name: string };
    const rule = this.rules.find((known) => known.name === name);
    if (rule === undefined) throw new Refusal(status.NOT_FOUND, "RULE_UNKNOWN", `there is no rule ${name}`);
    if (rule.origin === "config") throw new Refusal(status.FAILED_PRECONDITION, "RULE_FIXED", `rule ${name} stands in the configuration`);
    this.rules.splice(this.rules.indexOf(rule), 1);
    return { rule };
  }

  async #audit(call: Call): Promise<void> {
    this.auditAsked = call.request;
    for (const event of this.events) call.write(event);
    if ((call.request as { follow: boolean }).follow) await once(call, "cancelled");
  }

  async #leases(call: Call): Promise<void> {
    const { follow } = call.request as { follow: boolean };
    for (const snapshot of follow ? this.snapshots : this.snapshots.slice(0, 1)) call.write(snapshot);
    if (follow) await once(call, "cancelled");
  }

  async #trustSigner(call: Call): Promise<unknown> {
    const { publicKey, publisher, joins } = call.request as { publicKey: Uint8Array; publisher: string; joins: boolean };
    const keyId = `sha256:${createHash("sha256").update(publicKey).digest("hex")}`;
    const found = this.signers.find((one) => one.keyId === keyId);
    if (found?.revokedAt) throw new Refusal(status.FAILED_PRECONDITION, "SIGNER_REVOKED", `key ${keyId} was revoked`);
    if (found !== undefined && found.publisher !== publisher) throw new Refusal(status.ALREADY_EXISTS, "SIGNER_EXISTS", "another publisher's");
    if (found === undefined && !joins && this.signers.some((one) => one.publisher === publisher)) throw new Refusal(status.ALREADY_EXISTS, "PUBLISHER_TAKEN", "another key speaks for it");
    const signer = found ?? { keyId, publisher, publicKey, trustedAt: this.time().toISOString(), trustedBy: "ann", revokedAt: "" };
    if (found === undefined) this.signers.push(signer);
    return { signer, alreadyTrusted: found !== undefined };
  }

  async #revokeSigner(call: Call): Promise<unknown> {
    const signer = this.signers.find((one) => one.keyId === (call.request as { keyId: string }).keyId);
    if (signer === undefined) throw new Refusal(status.NOT_FOUND, "KEY_UNKNOWN", "never trusted");
    signer.revokedAt = this.time().toISOString();
    return { signer, blockedBundles: ["weather@0.1.0"] };
  }

  async #upload(call: Call): Promise<unknown> {
    let asked = { acceptAuthority: "", dryRun: false };
    const { ref, bytes } = await this.#receive(call, (start) => {
      asked = start as typeof asked;
      return (start as { file?: { sha256: string; sizeBytes: bigint } }).file;
    });
    const authority = { changes: this.widens?.changes ?? [], comparedVersion: this.widens === undefined ? "" : "0.1.0", needsAcceptance: asked.dryRun && this.widens !== undefined };
    if (this.widens !== undefined && asked.acceptAuthority !== this.widens.authority) {
      if (!asked.dryRun) throw new Refusal(status.FAILED_PRECONDITION, "AUTHORITY_WIDENED", "may touch more", { authority: this.widens.authority });
      return { bundle: { name: "weather", version: "0.2.0", digest: `sha256:${ref}`, authorityDigest: this.widens.authority }, authority };
    }
    const text = new TextDecoder().decode(bytes.subarray(0, 64));
    const opened = text.startsWith("oci-layout") ? openBundle(bytes) : undefined;
    const manifest = opened?.manifest;
    const digest = opened?.digest ?? `sha256:${ref}`;
    const named = manifest === undefined ? /^bundle ([a-z-]+)@([0-9.]+)/.exec(text) : ["", manifest.name, manifest.version];
    if (named === null) throw new Refusal(status.INVALID_ARGUMENT, "MANIFEST_INVALID", "no manifest");
    const found = this.installed.find(({ name, version }) => name === named[1] && version === named[2]);
    if (found !== undefined && found.digest !== digest) throw new Refusal(status.ALREADY_EXISTS, "VERSION_TAKEN", "other contents have this version");
    const bundle = found ?? { name: named[1] ?? "", version: named[2] ?? "", digest, tools: manifest === undefined ? [`${named[1]}.run`] : manifest.tools.map((tool) => `${named[1]}.${tool.name}`), bytes: bytes.length, ...(manifest === undefined ? {} : { manifest }) };
    if (found === undefined) this.installed.push(bundle);
    return { bundle: this.#bundle(bundle), alreadyPresent: found !== undefined, authority };
  }

  /** Start first, then chunks of at most 1 MiB that add up to what was announced. */
  async #receive(call: Call, refOf: (start: unknown) => { sha256: string; sizeBytes: bigint } | undefined): Promise<{ ref: string; bytes: Uint8Array }> {
    const chunks: Uint8Array[] = [];
    let ref: { sha256: string; sizeBytes: bigint } | undefined;
    for await (const message of messages(call)) {
      const { part } = message as { part: { case: string; value: unknown } };
      if (part.case === "start" && ref === undefined && chunks.length === 0) ref = refOf(part.value);
      else if (part.case === "resume" && ref === undefined && chunks.length === 0) {
        const { blob, offsetBytes } = part.value as { blob: { sha256: string; sizeBytes: bigint }; offsetBytes: bigint };
        ref = blob;
        const held = offsetBytes === 0n ? new Uint8Array() : (this.held.get(blob.sha256) ?? new Uint8Array());
        if (BigInt(held.length) !== offsetBytes) throw new Refusal(status.ABORTED, "OFFSET_MISMATCH", "elsewhere");
        chunks.push(held);
      }
      else if (part.case === "chunk" && ref !== undefined) {
        const chunk = part.value as Uint8Array;
        this.chunkBytesMax = Math.max(this.chunkBytesMax, chunk.length);
        chunks.push(chunk);
        this.receivedBytes += chunk.length;
        if (this.receivedBytes > this.breakAfterBytes) {
          this.breakAfterBytes = Number.POSITIVE_INFINITY;
          this.held.set(ref.sha256, new Uint8Array(Buffer.concat(chunks)));
          this.breakLinks();
          throw new Refusal(status.UNAVAILABLE, "GONE", "the link is broken");
        }
      } else throw new Refusal(status.INVALID_ARGUMENT, "PROTOCOL", "messages out of order");
    }
    const bytes = new Uint8Array(Buffer.concat(chunks));
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    if (ref === undefined || sha256 !== ref.sha256 || BigInt(bytes.length) !== ref.sizeBytes) throw new Refusal(status.DATA_LOSS, "DIGEST_MISMATCH", "other bytes");
    return { ref: sha256, bytes };
  }

  #bundle(bundle: Installed): unknown {
    const { name, version, digest, tools, bytes, manifest } = bundle;
    const digests = manifest === undefined ? { interfaceDigest: "sha256:1", authorityDigest: "sha256:2" } : { interfaceDigest: interfaceDigest(manifest), authorityDigest: authorityDigest(manifest) };
    return { name, version, digest, ...digests, sizeBytes: BigInt(bytes), installedAt: "2026-11-20T10:00:00Z", tools, description: "", active: this.#newest(name) === bundle };
  }

  #newest(name: string): Installed | undefined {
    return this.installed.filter((bundle) => bundle.name === name).sort((a, b) => Bun.semver.order(b.version, a.version))[0];
  }

  #find(request: unknown): Installed {
    const { name, version } = request as { name: string; version: string };
    const found = version === "" ? this.#newest(name) : this.installed.find((bundle) => bundle.name === name && bundle.version === version);
    if (found === undefined) throw new Refusal(status.NOT_FOUND, "BUNDLE_UNKNOWN", `no bundle ${name}`);
    return found;
  }

  async #remove(call: Call): Promise<unknown> {
    const found = this.#find(call.request);
    if ((call.request as { dryRun: boolean }).dryRun) return { removed: [this.#bundle(found)] };
    const removed = [this.#bundle(found)];
    this.installed.splice(this.installed.indexOf(found), 1);
    return { removed };
  }

  async #findMissing(call: Call): Promise<unknown> {
    const { blobs } = call.request as { blobs: { sha256: string; sizeBytes: bigint }[] };
    return { missing: blobs.filter(({ sha256 }) => !this.blobs.has(sha256)) };
  }

  async #putBlob(call: Call): Promise<unknown> {
    const { ref, bytes } = await this.#receive(call, (start) => start as { sha256: string; sizeBytes: bigint });
    this.blobs.set(ref, bytes);
    return { blob: { sha256: ref, sizeBytes: BigInt(bytes.length) } };
  }

  /** Puts a described bundle together from the blobs that are here. */
  async #commit(call: Call): Promise<unknown> {
    const { file, pieces } = call.request as unknown as { file: { sha256: string }; pieces: { piece: { case: string; value: { sha256: string; sizeBytes: bigint } & Uint8Array } }[] };
    this.commits += 1;
    const before = this.files.get(file.sha256);
    if (before !== undefined) return { bundle: this.#bundle(before), alreadyPresent: true };
    const missing = pieces.flatMap(({ piece }) => (piece.case === "blob" && !this.blobs.has(piece.value.sha256) ? [piece.value] : []));
    if (missing.length > 0) return { missing, heldBytes: missing.map(({ sha256 }) => BigInt(this.held.get(sha256)?.length ?? 0)) };
    const bytes = Buffer.concat(pieces.map(({ piece }) => (piece.case === "blob" ? (this.blobs.get(piece.value.sha256) ?? Buffer.alloc(0)) : piece.value)));
    if (createHash("sha256").update(bytes).digest("hex") !== file.sha256) throw new Refusal(status.DATA_LOSS, "DIGEST_MISMATCH", "other bytes");
    const { manifest, digest } = openBundle(new Uint8Array(bytes));
    const bundle = { name: manifest.name, version: manifest.version, digest, tools: manifest.tools.map((tool) => `${manifest.name}.${tool.name}`), bytes: bytes.length, manifest };
    this.installed.push(bundle);
    this.files.set(file.sha256, bundle);
    return { bundle: this.#bundle(bundle), alreadyPresent: false };
  }

  async #getBlob(call: Call): Promise<void> {
    const bytes = this.blobs.get((call.request as { sha256: string }).sha256);
    if (bytes === undefined) throw new Refusal(status.NOT_FOUND, "BLOB_UNKNOWN", "no such blob");
    for (let at = 0; at < bytes.length; at += 65_536) call.write({ chunk: bytes.subarray(at, at + 65_536) });
  }

  #getTool(name: string): unknown {
    const [bundle = "", short] = name.split(".");
    const installed = this.installed.some((one) => one.name === bundle && one.manifest !== undefined) ? this.#find({ name: bundle, version: "" }) : undefined;
    const tool = installed?.manifest?.tools.find((one) => one.name === short);
    if (tool === undefined) return { tool: { name: this.#tool(name), inputSchemaJson: this.schemas[name] ?? "{}" } };
    return { tool: { name, bundleVersion: installed?.version ?? "", description: tool.description, inputSchemaJson: JSON.stringify(tool.input), outputSchemaJson: JSON.stringify(tool.output) } };
  }

  #listRuns(request: unknown): unknown {
    const { tool, outcome, owner, pageSize, pageToken } = request as ListRunsRequest;
    const fits = this.kept.filter((run) => (tool === "" || run.tool === tool || run.tool?.startsWith(`${tool}.`)) && (owner === "" || run.owner === owner) && (outcome === "" || run.outcome === outcome || (outcome === "failed" && !["running", "succeeded"].includes(run.outcome ?? ""))));
    const from = pageToken === "" ? 0 : Number(pageToken);
    const runs = fits.slice(from, from + pageSize);
    return { runs, nextPageToken: from + runs.length < fits.length ? String(from + runs.length) : "" };
  }

  #keptRun(request: unknown): unknown {
    const { invocationId } = request as { invocationId: string };
    const found = this.kept.find((run) => run.invocationId === invocationId);
    if (found === undefined) throw new Refusal(status.NOT_FOUND, "RUN_UNKNOWN", `no run ${invocationId}`);
    return found;
  }

  #tool(name: string): string {
    if (!(name in this.tools)) throw new Refusal(status.NOT_FOUND, "TOOL_UNKNOWN", `no tool ${name}`);
    return name;
  }

  async #invoke(call: Call): Promise<void> {
    const request = call.request as unknown as InvokeRequest;
    const tool = this.tools[this.#tool(request.tool)];
    this.invocations.push(request);
    await tool?.(request.inputJson, fakeRun(call, messages(new EventEmitter() as Call)), request);
  }

  async #run(call: Call): Promise<void> {
    const incoming = messages(call)[Symbol.asyncIterator]();
    const first = (await incoming.next()).value as { part: { case: string; value: RunStart } } | undefined;
    if (first?.part.case !== "start") throw new Refusal(status.INVALID_ARGUMENT, "PROTOCOL", "start comes first");
    this.runs.push(first.part.value);
    async function* stdin(): AsyncGenerator<Uint8Array> {
      for (;;) {
        const { value, done } = await incoming.next();
        if (done === true) return;
        yield (value as { part: { value: Uint8Array } }).part.value;
      }
    }
    await this.program(first.part.value, fakeRun(call, stdin()));
  }
}

function fakeRun(call: Call, stdin: AsyncIterable<unknown>): FakeRun {
  const cancelled = new Promise<void>((resolve) => call.once("cancelled", () => resolve()));
  return {
    cancelled,
    stdin: stdin as AsyncIterable<Uint8Array>,
    say: async (event) => {
      if (!call.write({ event: { event } })) await Promise.race([once(call, "drain"), cancelled]);
    },
  };
}

/** Messages of a call one by one; the next is read only when asked for, so flow control is real. */
async function* messages(call: Call): AsyncGenerator<unknown> {
  const queue: unknown[] = [];
  let ended = false;
  let wake = (): void => undefined;
  call.on("data", (message) => {
    queue.push(message);
    call.pause();
    wake();
  });
  for (const name of ["end", "cancelled"]) {
    call.on(name, () => {
      ended = true;
      wake();
    });
  }
  for (;;) {
    if (queue.length > 0) {
      yield queue.shift();
      continue;
    }
    if (ended) return;
    const next = new Promise<void>((resolve) => (wake = resolve));
    call.resume?.();
    await next;
  }
}

export const succeeded = (outputJson: string, files: { name: string; blob: { sha256: string; sizeBytes: bigint } }[] = []) => ({ case: "succeeded" as const, value: { outputJson, files } });
export const failed = (reason: number, message: string, more: { stack?: string; exitCode?: number; signal?: number } = {}) => ({ case: "failed" as const, value: { reason, message, ...more } });

export function finished(kind: ReturnType<typeof succeeded> | ReturnType<typeof failed> | { case: "cancelled"; value: { by: string } } | { case: "refused"; value: { reason: string; message: string } }): Event {
  return { case: "finished", value: { invocationId: "run-1", outcome: { kind }, usage: { wallMs: 12n, cpuMs: 3n, memoryPeakBytes: 9007199254740993n } } };
}

export const out = (text: string | Uint8Array, stream: 1 | 2 = 1): Event => ({ case: "output", value: { stream, data: typeof text === "string" ? new TextEncoder().encode(text) : text } });

/** `google.rpc.Status` with one `ErrorInfo`, written by hand as a foreign server would. */
function wire(error: unknown): unknown {
  if (!(error instanceof Refusal)) return Object.assign(new Error(String(error)), { code: status.INTERNAL });
  const writer = new BinaryWriter().tag(1, WireType.LengthDelimited).string(error.reason).tag(2, WireType.LengthDelimited).string("aria");
  for (const [key, value] of Object.entries(error.metadata)) {
    const pair = new BinaryWriter().tag(1, WireType.LengthDelimited).string(key).tag(2, WireType.LengthDelimited).string(value).finish();
    writer.tag(3, WireType.LengthDelimited).bytes(pair);
  }
  const info = writer.finish();
  const any = new BinaryWriter().tag(1, WireType.LengthDelimited).string("type.googleapis.com/google.rpc.ErrorInfo").tag(2, WireType.LengthDelimited).bytes(info).finish();
  const details = new BinaryWriter().tag(1, WireType.Varint).int32(error.code).tag(2, WireType.LengthDelimited).string(error.message).tag(3, WireType.LengthDelimited).bytes(any).finish();
  const metadata = new Metadata();
  metadata.set("grpc-status-details-bin", Buffer.from(details));
  return { code: error.code, details: error.message, metadata };
}

/** The HTTP/2 sessions of a grpc-js server, which has no word for breaking them. */
function sessionsOf(server: Server): { destroy(): void }[] {
  return [...(server as unknown as { sessions: Map<{ destroy(): void }, unknown> }).sessions.keys()];
}
