// Four client stacks that are not arc's upload, list, call and cancel over mutual TLS: buf curl, grpc-js, Connect under Bun, and
// grpcio in Python. Each knows the wire contracts and nothing else of this project.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createFileRegistry, type DescService, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { ConnectError, createClient, Code } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { root, run, startHost, until, type Host } from "../stand/host.ts";
import { file, parts, sha256, signed, trustAuthor } from "./bundle-maker.ts";
import { send, stubs, unary } from "./device-client.ts";
import { BUF, buf, bufCurl, documents, enrolled } from "./foreign.ts";

/** What every stack must be able to do. */
interface Stack {
  upload(path: string): Promise<string>;
  list(): Promise<string[]>;
  invoke(tool: string, input: string): Promise<unknown>;
  /** Begins a call, cancels it once it runs. */
  cancel(tool: string, input: string): Promise<void>;
}

let host: Host;
const scratch = mkdtempSync(join(tmpdir(), "stacks-"));
const descriptors = join(scratch, "aria.binpb");
const CHUNK = 256 * 1024;
const WAITS = 'export const tool = { name: "hello", input: null, output: null, async run(input) { if (input.name === "wait") await Bun.sleep(60000); return { hello: input.name }; } };\n';

beforeAll(async () => {
  host = await startHost({ context: "dev" });
  await trustAuthor(host);
  const built = await buf(["build", "--path", "proto/aria", "-o", descriptors], join(root, "crates/protocol"));
  if (built.code !== 0) throw new Error(built.stderr);
}, 120_000);
afterAll(async () => {
  rmSync(scratch, { recursive: true, force: true });
  await host?.stop();
});

/** A bundle of its own for each stack, with a tool that waits when it is asked to. */
function made(name: string): string {
  const from = parts(name);
  const [tool] = from.manifest.tools as Record<string, unknown>[];
  const path = join(scratch, `${name}.aria`);
  writeFileSync(path, signed({ ...from, files: [file("code/hello.js", WAITS)], manifest: { ...from.manifest, tools: [{ ...tool, timeoutMs: 60_000 }] } }));
  return path;
}

function ref(bytes: Uint8Array): { sha256: string; sizeBytes: number } {
  return { sha256: sha256(bytes), sizeBytes: bytes.length };
}

const bufCurlStack: Stack = {
  async upload(path) {
    const bytes = readFileSync(path);
    const chunks = Array.from({ length: Math.ceil(bytes.length / CHUNK) }, (_, i) => ({ chunk: bytes.subarray(i * CHUNK, (i + 1) * CHUNK).toString("base64") }));
    const data = join(scratch, "upload.json");
    writeFileSync(data, [{ start: { file: ref(bytes) } }, ...chunks].map((message) => JSON.stringify(message)).join("\n"));
    const { ca, certificate, key } = enrolled(host);
    const done = await run([join(root, "out/bin/bun"), BUF, "curl", "--protocol", "grpc", "--cacert", ca, "--cert", certificate, "--key", key, "--data", `@${data}`, `https://${host.listen}/aria.v1.Bundles/UploadBundle`], { env: { HOME: host.dir, BUF_CACHE_DIR: join(host.dir, "buf-cache") } });
    expect(done.code, done.stderr).toBe(0);
    const { name, version } = (JSON.parse(done.stdout) as { bundle: { name: string; version: string } }).bundle;
    return `${name}@${version}`;
  },
  async list() {
    const done = await bufCurl(host, "aria.v1.Tools/ListTools", {}, enrolled(host));
    return (JSON.parse(done.stdout) as { tools: { name: string }[] }).tools.map(({ name }) => name);
  },
  async invoke(tool, input) {
    const done = await bufCurl(host, "aria.v1.Tools/Invoke", { tool, inputJson: input }, enrolled(host));
    const last = (documents(done.stdout) as { event: { finished: { outcome: { succeeded: { outputJson: string } } } } }[]).at(-1);
    return JSON.parse(last!.event.finished.outcome.succeeded.outputJson);
  },
  async cancel(tool, input) {
    const { ca, certificate, key } = enrolled(host);
    // The program itself: the script around it does not pass signals on.
    const child = Bun.spawn([join(root, "tests/node_modules/@bufbuild/buf-linux-x64/bin/buf"), "curl", "--protocol", "grpc", "--cacert", ca, "--cert", certificate, "--key", key, "--data", JSON.stringify({ tool, inputJson: input }), `https://${host.listen}/aria.v1.Tools/Invoke`], { env: { ...process.env, HOME: host.dir, BUF_CACHE_DIR: join(host.dir, "buf-cache") }, stdin: "ignore", stdout: "pipe", stderr: "ignore" });
    let said = "";
    for await (const piece of child.stdout) {
      said += new TextDecoder().decode(piece);
      if (said.includes('"started"')) break;
    }
    child.kill("SIGINT");
    expect(await child.exited).not.toBe(0);
  },
};

const grpcJsStack: Stack = {
  async upload(path) {
    const answer = await send((await stubs(host))("Bundles"), "UploadBundle", readFileSync(path));
    if (!answer.ok) throw new Error(answer.refusal.details);
    const { name, version } = (answer.value as { bundle: { name: string; version: string } }).bundle;
    return `${name}@${version}`;
  },
  async list() {
    const answer = await unary((await stubs(host))("Tools"), "ListTools", {});
    if (!answer.ok) throw new Error(answer.refusal.details);
    return (answer.value as { tools: { name: string }[] }).tools.map(({ name }) => name);
  },
  async invoke(tool, input) {
    const events = await grpcJsEvents(tool, input, () => false);
    return JSON.parse((events.at(-1) as { finished: { outcome: { succeeded: { output_json: string } } } }).finished.outcome.succeeded.output_json);
  },
  async cancel(tool, input) {
    await expect(grpcJsEvents(tool, input, (event) => "started" in event)).rejects.toMatchObject({ code: 1 });
  },
};

async function grpcJsEvents(tool: string, input: string, stop: (event: object) => boolean): Promise<object[]> {
  const stub = (await stubs(host))("Tools");
  const events: object[] = [];
  type Call = { on(event: string, listener: (value: never) => void): Call; cancel(): void };
  const call = (stub["Invoke"] as unknown as (request: unknown) => Call).call(stub, { tool, input_json: input });
  return await new Promise<object[]>((resolve, reject) => {
    call.on("data", (({ event }: { event: object }) => {
      events.push(event);
      if (stop(event)) call.cancel();
    }) as never);
    call.on("error", reject as never).on("end", (() => resolve(events)) as never);
  }).finally(() => stub.close());
}

/** Connect's client over Bun's own HTTP/2, its types from the descriptors at run time. */
function connectClient(service: string): Record<string, (request: unknown, options?: { signal?: AbortSignal }) => any> {
  const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, new Uint8Array(readFileSync(descriptors))));
  const { ca, certificate, key } = enrolled(host);
  const [ca_, cert, key_] = [ca, certificate, key].map((path) => readFileSync(path));
  const transport = createGrpcTransport({ baseUrl: `https://localhost:${host.listen.split(":").at(-1)}`, nodeOptions: { ca: ca_, cert, key: key_ } });
  return createClient(registry.getService(`aria.v1.${service}`) as DescService, transport) as never;
}

const connectStack: Stack = {
  async upload(path) {
    const bytes = readFileSync(path);
    async function* messages() {
      yield { part: { case: "start", value: { file: { sha256: sha256(bytes), sizeBytes: BigInt(bytes.length) } } } };
      for (let at = 0; at < bytes.length; at += CHUNK) yield { part: { case: "chunk", value: bytes.subarray(at, at + CHUNK) } };
    }
    const { bundle: installed } = await connectClient("Bundles")["uploadBundle"]!(messages());
    return `${installed.name}@${installed.version}`;
  },
  async list() {
    return (await connectClient("Tools")["listTools"]!({})).tools.map(({ name }: { name: string }) => name);
  },
  async invoke(tool, input) {
    let last: any;
    for await (const { event } of connectClient("Tools")["invoke"]!({ tool, inputJson: input })) last = event;
    return JSON.parse(last.event.value.outcome.kind.value.outputJson);
  },
  async cancel(tool, input) {
    const stop = new AbortController();
    const call = async (): Promise<void> => {
      for await (const { event } of connectClient("Tools")["invoke"]!({ tool, inputJson: input }, { signal: stop.signal })) if (event.event.case === "started") stop.abort();
    };
    const error = await call().then(() => undefined, (thrown: unknown) => ConnectError.from(thrown));
    expect(error?.code).toBe(Code.Canceled);
  },
};

async function python(...args: string[]): Promise<any> {
  const { ca, certificate, key } = enrolled(host);
  const address = `localhost:${host.listen.split(":").at(-1)}`;
  const done = await run([join(root, "out/cache/python/bin/python"), join(import.meta.dir, "python/client.py"), descriptors, address, ca, certificate, key, ...args], { env: { GRPC_ENABLE_FORK_SUPPORT: "0" } });
  if (done.code !== 0) throw new Error(done.stderr);
  return JSON.parse(done.stdout);
}

const pythonStack: Stack = {
  upload: (path) => python("upload", path),
  list: () => python("list"),
  invoke: (tool, input) => python("invoke", tool, input),
  async cancel(tool, input) {
    expect(await python("cancel", tool, input)).toBe("CANCELLED");
  },
};

/** Calls of a tool that ended because their caller went away, as the device noted it. */
async function cancelled(tool: string): Promise<number> {
  const done = await host.arc(["audit", "--kind", "call.finished", "--json"]);
  const rows = done.stdout.trim().split("\n").map((line) => JSON.parse(line) as { subject?: string; reason?: string });
  return rows.filter(({ subject, reason }) => subject === `tool:${tool}` && reason === "cancelled").length;
}

const STACKS: Record<string, Stack> = { "buf-curl": bufCurlStack, "grpc-js": grpcJsStack, connect: connectStack, python: pythonStack };

for (const [name, stack] of Object.entries(STACKS)) {
  describe(name, () => {
    const tool = `${name}.hello`;
    test("uploads, lists and calls", async () => {
      expect(await stack.upload(made(name))).toBe(`${name}@1.0.0`);
      expect(await stack.list()).toContain(tool);
      expect(await stack.invoke(tool, `{"name":"${name}"}`)).toEqual({ hello: name });
    }, 60_000);
    test("cancels a call that runs, and the run ends", async () => {
      await stack.cancel(tool, '{"name":"wait"}');
      expect(await until(15_000, async () => (await cancelled(tool)) === 1)).toBe(true);
    }, 60_000);
  });
}
