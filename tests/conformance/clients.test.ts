// Foreign clients: buf curl and grpc-js list and invoke over mutual TLS, with reflection and from the proto files; whoever is not
// enrolled is refused in every method.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { credentials, loadPackageDefinition, Metadata, status, type ChannelCredentials, type GrpcObject, type ServiceClientConstructor } from "@grpc/grpc-js";
import { load } from "@grpc/proto-loader";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { root, startHost, type Host } from "../stand/host.ts";
import { buf, bufCurl, documents, enrolled, type Identity, PROTO, stranger, unenrolled } from "./foreign.ts";

let host: Host;
let outsiders: Record<"stranger" | "unenrolled", Identity>;
let api: GrpcObject;
const scratch = mkdtempSync(join(tmpdir(), "clients-"));

beforeAll(async () => {
  host = await startHost({ context: "dev" });
  const bundle = join(scratch, "text-diff.aria");
  for (const args of [["build", join(root, "examples/text-diff"), "--out", bundle], ["upload", bundle]]) {
    const done = await host.arc(args);
    if (done.code !== 0) throw new Error(done.stderr);
  }
  const subject = (JSON.parse((await bufCurl(host, "aria.v1.Node/GetNode", {}, enrolled(host))).stdout) as { subject: string }).subject;
  outsiders = { stranger: await stranger(host, scratch, subject), unenrolled: await unenrolled(host, scratch, subject) };
  const files = ["tools", "bundles", "blobs", "exec", "node"].map((name) => `aria/v1/${name}.proto`);
  api = (loadPackageDefinition(await load(files, { includeDirs: [PROTO], keepCase: true, longs: String, enums: String, oneofs: true })).aria as GrpcObject).v1 as GrpcObject;
}, 120_000);
afterAll(async () => {
  rmSync(scratch, { recursive: true, force: true });
  await host?.stop();
});

const DIFF = { tool: "text-diff.diff", input_json: '{"before":"a\\n","after":"b\\n"}' };

test("the wire contracts are lint-clean", async () => {
  const done = await buf(["lint"], join(root, "crates/protocol"));
  expect(done.stdout + done.stderr).toBe("");
  expect(done.code).toBe(0);
});

describe("buf curl with reflection", () => {
  test("lists the services", async () => {
    const done = await bufCurl(host, "", {}, enrolled(host), ["--list-services"]);
    const services = done.stdout.split("\n").map((line) => line.trim());
    for (const name of ["aria.v1.Tools", "aria.v1.Bundles", "aria.v1.Blobs", "aria.v1.Exec", "aria.v1.Node", "grpc.health.v1.Health"]) expect(services).toContain(name);
  });
  test("lists the tools", async () => {
    const done = await bufCurl(host, "aria.v1.Tools/ListTools", {}, enrolled(host));
    const [answer] = documents(done.stdout) as [{ tools: { name: string; inputSchemaJson: string }[] }];
    expect(answer.tools.map((tool) => tool.name).sort()).toEqual(["text-diff.diff", "text-diff.patch", "text-diff.words"]);
    for (const tool of answer.tools) expect(JSON.parse(tool.inputSchemaJson)).toMatchObject({ type: "object", additionalProperties: false });
  });
  test("invokes a tool and sees it finish last", async () => {
    const done = await bufCurl(host, "aria.v1.Tools/Invoke", { tool: DIFF.tool, inputJson: DIFF.input_json }, enrolled(host));
    const events = documents(done.stdout) as { event: Record<string, unknown> }[];
    const last = events.at(-1)?.event as { finished: { outcome: { succeeded: { outputJson: string } } } };
    expect(JSON.parse(last.finished.outcome.succeeded.outputJson)).toMatchObject({ added: 1, removed: 1 });
    expect(events.slice(0, -1).some(({ event }) => "finished" in event)).toBe(false);
  });
  test("gets the health of the device", async () => {
    const done = await bufCurl(host, "grpc.health.v1.Health/Check", {}, enrolled(host));
    expect(JSON.parse(done.stdout)).toEqual({ status: "SERVING" });
  });
  test("gets a typed error for an unknown tool", async () => {
    const done = await bufCurl(host, "aria.v1.Tools/Invoke", { tool: "no.such" }, enrolled(host));
    expect(done.code).toBe(status.NOT_FOUND << 3);
    expect(done.stderr).toContain("not_found");
  });
  test("gets a typed error for input against the schema", async () => {
    const done = await bufCurl(host, "aria.v1.Tools/Invoke", { tool: DIFF.tool, inputJson: '{"before":1}' }, enrolled(host));
    expect(done.code).toBe(status.INVALID_ARGUMENT << 3);
  });
});

interface RunEvent {
  event: { finished?: { outcome: { succeeded?: { output_json: string } } } };
}

function secured(identity: Partial<Identity>): ChannelCredentials {
  const read = (path: string | undefined): Buffer | null => (path === undefined ? null : readFileSync(path));
  return credentials.createSsl(read(identity.ca ?? enrolled(host).ca), read(identity.key), read(identity.certificate));
}

// By name: node's TLS takes no address as a server name, and the device's certificate is for both.
function client(service: string, channel: ChannelCredentials): InstanceType<ServiceClientConstructor> {
  return new (api[service] as ServiceClientConstructor)(`localhost:${host.listen.split(":").at(-1)}`, channel);
}

type Failure = { code: number; details: string };

function unary(service: string, method: string, request: unknown, channel: ChannelCredentials): Promise<unknown> {
  const stub = client(service, channel);
  return new Promise((resolve, reject) => {
    stub[method]!(request, new Metadata(), { deadline: Date.now() + 10_000 }, (error: Failure | null, answer: unknown) => (error === null ? resolve(answer) : reject(error)));
  }).finally(() => stub.close());
}

function streamed(service: string, method: string, request: unknown, channel: ChannelCredentials): Promise<RunEvent[]> {
  const stub = client(service, channel);
  return new Promise<RunEvent[]>((resolve, reject) => {
    const events: RunEvent[] = [];
    const call = stub[method]!(request, new Metadata(), { deadline: Date.now() + 30_000 });
    call.on("data", (event: RunEvent) => events.push(event)).on("error", reject).on("end", () => resolve(events));
  }).finally(() => stub.close());
}

describe("grpc-js with the proto files", () => {
  test("lists the tools", async () => {
    const { tools } = (await unary("Tools", "ListTools", {}, secured(enrolled(host)))) as { tools: { name: string }[] };
    expect(tools.map((tool) => tool.name)).toContain("text-diff.diff");
  });
  test("invokes a tool", async () => {
    const events = await streamed("Tools", "Invoke", DIFF, secured(enrolled(host)));
    expect(JSON.parse(events.at(-1)!.event.finished!.outcome.succeeded!.output_json)).toMatchObject({ added: 1, removed: 1 });
  });
  test("sees the device", async () => {
    expect(await unary("Node", "GetNode", {}, secured(enrolled(host)))).toMatchObject({ quilt_up: true, exec_enabled: true });
  });
});

/** Every method of every service, with a request that would do something. */
const METHODS: [service: string, method: string, request: unknown, kind: "unary" | "stream"][] = [
  ["Tools", "ListTools", {}, "unary"], ["Tools", "GetTool", { name: DIFF.tool }, "unary"], ["Tools", "Invoke", DIFF, "stream"], ["Bundles", "ListBundles", {}, "unary"],
  ["Bundles", "GetBundle", { name: "text-diff" }, "unary"], ["Bundles", "RemoveBundle", { name: "text-diff" }, "unary"], ["Blobs", "FindMissing", {}, "unary"], ["Blobs", "GetBlob", { sha256: "0".repeat(64) }, "stream"],
  ["Node", "GetNode", {}, "unary"], ["Node", "StreamLogs", {}, "stream"], ["Node", "Revoke", { subject: "root" }, "unary"],
];

for (const who of ["nobody", "stranger", "unenrolled"] as const) {
  describe(`${who} is refused`, () => {
    const identity = (): Partial<Identity> => (who === "nobody" ? { ca: enrolled(host).ca } : outsiders[who]);
    for (const [service, method, request, kind] of METHODS) {
      test(`by ${service}.${method}`, async () => {
        const call = kind === "unary" ? unary : streamed;
        const error = await call(service, method, request, secured(identity())).then(() => undefined, (failure: Failure) => failure);
        expect([status.UNAUTHENTICATED, status.PERMISSION_DENIED, status.UNAVAILABLE]).toContain(error?.code as number);
      });
    }
    test("by reflection and health over buf curl", async () => {
      for (const [method, options] of [["", ["--list-services"]], ["grpc.health.v1.Health/Check", ["--schema", PROTO]], ["aria.v1.Tools/ListTools", ["--schema", PROTO]]] as const) {
        const done = await bufCurl(host, method, {}, identity(), [...options]);
        expect(done.code, done.stdout).not.toBe(0);
        expect(done.stdout).not.toContain("aria.v1");
      }
    });
  });
}

test("nothing an outsider asked for happened", async () => {
  const { bundles } = (await unary("Bundles", "ListBundles", {}, secured(enrolled(host)))) as { bundles: { name: string }[] };
  expect(bundles.map((bundle) => bundle.name)).toEqual(["text-diff"]);
});

test("a client that speaks no TLS gets nothing", async () => {
  const error = await unary("Tools", "ListTools", {}, credentials.createInsecure()).then(() => undefined, (failure: Failure) => failure);
  expect(error?.code).toBe(status.UNAVAILABLE);
});

test("a client does not take another device for this one", async () => {
  const done = await bufCurl(host, "aria.v1.Tools/ListTools", {}, { ...enrolled(host), ca: join(scratch, "other-ca.pem") }, ["--schema", PROTO]);
  expect(done.code).not.toBe(0);
  expect(done.stderr).toMatch(/certificate|x509/);
});

test("a revoked client is refused, and only that one", async () => {
  const second = await host.arc(["device", "init", "--socket", host.ariadSocket, "--name", "second", "--subject", "second"]);
  expect(second.code, second.stderr).toBe(0);
  expect(await unary("Tools", "ListTools", {}, secured(enrolled(host, "second")))).toBeDefined();
  const done = await bufCurl(host, "aria.v1.Node/Revoke", { subject: "second" }, enrolled(host));
  const admin = done.code === 0;
  // Over the socket root is an admin; over TCP only an admin may revoke, an operator is told so.
  if (!admin) {
    expect(done.code).toBe(status.PERMISSION_DENIED << 3);
    return;
  }
  const error = await unary("Tools", "ListTools", {}, secured(enrolled(host, "second"))).then(() => undefined, (failure: Failure) => failure);
  expect([status.UNAUTHENTICATED, status.PERMISSION_DENIED, status.UNAVAILABLE]).toContain(error?.code as number);
  expect(await unary("Tools", "ListTools", {}, secured(enrolled(host)))).toBeDefined();
});
