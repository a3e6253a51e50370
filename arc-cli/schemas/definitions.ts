//! What each command writes with `--json`, in one table. The files beside it are made from it (`UPDATE=1 bun test test/golden`).
//!
//! Two kinds: `data` is the `data` member of the one envelope; `lines` are the events of a stream by their `type`. A command that
//! follows may be both. A member may be added at any time; one that is here stays and keeps its meaning until a new major version.

export type JsonSchema = { readonly [key: string]: unknown };

const text = { type: "string" };
const whole = { type: "integer" };
const yes = { type: "boolean" };
const any = {};
const time = { type: "string", format: "date-time" };
const digest = { type: "string", pattern: "^sha256:[0-9a-f]+$" };
const list = (items: JsonSchema): JsonSchema => ({ type: "array", items });
const or = (...anyOf: JsonSchema[]): JsonSchema => ({ anyOf });
const orNull = (schema: JsonSchema): JsonSchema => or(schema, { type: "null" });
const one = (...values: readonly unknown[]): JsonSchema => ({ enum: values });

/** Members named with `?` may be absent. */
function object(members: Readonly<Record<string, JsonSchema>>): JsonSchema {
  const names = Object.keys(members);
  const properties = Object.fromEntries(Object.entries(members).map(([name, schema]) => [name.replace(/\?$/, ""), schema]));
  return { type: "object", properties, required: names.filter((name) => !name.endsWith("?")) };
}

const span = object({ file: text, line: whole, column: whole, "endLine?": whole, "endColumn?": whole });
export const failure = object({ code: text, message: text, hint: orNull(text), fix: list(text), docs: orNull(text), retryable: yes, details: any, span: orNull(span) });

const bundle = object({ name: text, version: text, digest, interfaceDigest: digest, authorityDigest: digest, sizeBytes: whole, installedAt: text, tools: list(text), description: text, active: yes, pinned: yes, deprecated: text, dependencies: list(object({ name: text, version: text })), publisher: orNull(text), signer: orNull(digest), blocked: orNull(text) });
const usage = orNull(object({ wallMs: whole, cpuMs: whole, memoryPeakBytes: whole, stdoutBytes: whole, stderrBytes: whole }));
const file = object({ name: text, sha256: text, sizeBytes: whole });
const outcome = or(
  object({ kind: one("succeeded"), output: any, "files?": list(file) }),
  object({ kind: one("failed"), reason: text, message: text, stack: text, "exitCode?": whole, "signal?": whole }),
  object({ kind: one("cancelled"), by: text }),
  object({ kind: one("refused"), reason: text, message: text }),
  object({ kind: one("unknown", "never_ran") }),
);
const invoked = object({ invocationId: text, output: any, files: list(file), "saved?": list(text), usage });
const logLine = { time, invocationId: text, tool: text, source: one("stdout", "stderr", "log", "event"), level: text, text };
const value = orNull(object({ sha256: text, sizeBytes: whole }));
const run = object({ invocationId: text, tool: text, bundleDigest: text, owner: text, startedAt: time, endedAt: orNull(time), outcome: text, message: text, usage, input: value, output: value, logDroppedBytes: whole });
const rule = object({ name: text, kinds: list(text), tokens: list(text), owners: list(text), subjects: list(text), origin: text });
const secret = object({ name: text, hosts: list(text), header: text, setAt: time });
const holder = object({ leaseId: text, invocationId: text, owner: text, tokens: list(text), fence: whole, ageMs: whole, ttlMs: whole, priority: whole, parentInvocationId: text });
const blocker = object({ invocationId: text, owner: text, token: text, held: text, holds: yes });
const waiter = object({ position: whole, invocationId: text, owner: text, tokens: list(text), waitedMs: whole, priority: whole, parentInvocationId: text, blockedBy: list(blocker) });
const leases = { time: text, holders: list(holder), waiters: list(waiter), capacities: list(object({ name: text, total: whole, used: whole })), waitersLeftOut: whole };
const change = object({ path: text, "a?": any, "b?": any });
const changed = one("added", "removed", "changed");
const side = object({ name: text, digest: orNull(digest), interfaceDigest: digest, authorityDigest: digest });
const output = { "text?": text, "base64?": text };
const steps = { notice: { code: text, message: text }, queued: { invocationId: text, why: text }, granted: { invocationId: text, leaseId: text, fence: whole }, started: { invocationId: text, sandboxId: text }, progress: { fraction: orNull({ type: "number" }), message: text }, stdout: output, stderr: output, log: { level: text, message: text, fields: any } };
const enrolled = object({ context: text, node: text, address: text, role: text, current: yes, signer: orNull(object({ keyId: digest, publisher: text })) });
const signer = { keyId: digest, publisher: text, trustedAt: time, trustedBy: text, expiresAt: orNull(time), revokedAt: orNull(time) };
const protocol = object({ min: whole, max: whole });

export interface Output {
  readonly data?: JsonSchema;
  /** Members of each event beside its `type`. */
  readonly lines?: Readonly<Record<string, Readonly<Record<string, JsonSchema>>>>;
}

const tool = object({ name: text, title: text, description: text });

export const outputs: Readonly<Record<string, Output>> = {
  new: { data: object({ directory: text, name: text, template: text, files: list(text) }) },
  dev: {
    lines: {
      device: { context: text, address: text, local: yes },
      build: { ok: yes, "version?": text, "digest?": digest, "tools?": list(text), "interfaceDigest?": digest, "authorityDigest?": digest, "interface?": one("new", "unchanged", "changed"), "authority?": one("new", "unchanged", "changed"), "pinned?": orNull(text), "ms?": object({ check: whole, bundle: whole, total: whole }), "error?": failure },
      unchanged: {},
      invoked: { tool: text, version: text, ok: yes, "outcome?": outcome, "usage?": usage, "error?": failure },
      log: logLine,
      stopped: { removed: list(text) },
    },
  },
  check: { data: object({ name: text, version: text, tools: list(tool), agents: list(tool), teams: list(tool), pipelines: list(tool), interfaceDigest: digest, authorityDigest: digest, diagnostics: list(any) }) },
  build: { data: object({ file: text, name: text, version: text, digest, interfaceDigest: digest, authorityDigest: digest, sizeBytes: whole, tools: list(text), agents: list(text), teams: list(text), pipelines: list(text), signer: orNull(digest), reused: yes, "reproducible?": yes }) },
  sign: { data: object({ file: text, digest, signer: digest, signers: list(digest) }) },
  "key new": { data: object({ name: text, keyId: digest }) },
  "key list": { data: or(list(object({ name: text, keyId: digest })), list(object({ ...signer, name: orNull(text) }))) },
  "key show": { data: object({ name: text, keyId: digest, publicKeyPem: text }) },
  "key trust": { data: object({ signer: object(signer), alreadyTrusted: yes }) },
  "key revoke": { data: object({ signer: orNull(object(signer)), blockedBundles: list(text) }) },
  schema: { data: object({ tool: text, version: text, description: text, interfaceDigest: digest, "input?": any, "output?": any }) },
  "gen client": { data: object({ file: text, name: text, version: text, interfaceDigest: digest, "current?": yes }) },
  diff: {
    data: object({
      a: side,
      b: side,
      same: yes,
      facts: list(change),
      interface: list(object({ tool: text, change: changed, details: list(change) })),
      authority: list(object({ tool: text, added: list(text), removed: list(text) })),
      widened: yes,
      files: list(object({ path: text, change: changed, sizeA: orNull(whole), sizeB: orNull(whole) })),
      filesCompared: yes,
    }),
  },
  inspect: { data: object({ digest, interfaceDigest: digest, authorityDigest: digest, sizeBytes: whole, signatures: list(object({ keyId: digest, name: orNull(text), holds: orNull(yes) })), manifest: any }) },
  upload: { data: object({ bundle: orNull(bundle), alreadyPresent: yes, sentBytes: whole, authorityChanges: list(object({ tool: text, wider: yes, touch: text })), comparedVersion: orNull(text), "dryRun?": yes, "needsAcceptance?": yes }) },
  pin: { data: orNull(bundle) },
  rollback: { data: orNull(bundle) },
  deprecate: { data: orNull(bundle) },
  publish: { data: object({ reference: text, digest, published: yes }) },
  install: { data: list(object({ name: text, version: text, digest, alreadyPresent: yes })) },
  ls: { data: list(bundle) },
  rm: { data: or(object({ removed: list(bundle) }), object({ wouldRemove: list(bundle) })) },
  invoke: { data: invoked, lines: { ...steps, finished: { ok: yes, data: invoked } } },
  exec: { lines: { ...steps, outcome: { ok: yes, exit: whole, outcome, "invocationId?": text, "usage?": usage, "saved?": list(text), "session?": any, "error?": failure } } },
  runs: { data: object({ runs: list(run), next: orNull(text) }) },
  run: { data: object({ run, log: list(object(logLine)) }) },
  logs: { lines: { log: logLine } },
  leases: { data: object(leases), lines: { leases } },
  audit: { lines: { audit: { seq: whole, time: text, kind: text, owner: text, invocationId: text, subject: text, reason: text, detail: any } } },
  "secret set": { data: object({ secret }) },
  "secret ls": { data: list(secret) },
  "secret rm": { data: object({ removed: text }) },
  "policy list": { data: list(rule) },
  "policy add": { data: or(object({ rule, alreadyPresent: yes }), object({ wouldAdd: object({ name: orNull(text), kinds: list(text), tokens: list(text), owners: list(text), subjects: list(text) }) })) },
  "policy rm": { data: or(object({ removed: orNull(rule) }), object({ wouldRemove: list(rule) })) },
  "device init": { data: enrolled },
  "device add": { data: enrolled },
  "device key": { data: object({ sha256: text, created: yes }) },
  "device use": { data: object({ current: text }) },
  "device ls": { data: list(object({ name: text, current: yes, address: text, node: text, expires: orNull(text), fingerprint: orNull(text) })) },
  "device rm": { data: object({ removed: text }) },
  "device credentials": { data: list(object({ keySha256: text, subject: text, role: text, enrolledAt: time, expiresAt: orNull(time), revokedAt: orNull(time) })) },
  "device invite": { data: object({ keySha256: text, fingerprint: text, listen: text }) },
  "device renew": { data: object({ context: text, expires: text, newKey: yes, keySha256: text }) },
  "device revoke": { data: object({ revoked: list(text) }) },
  explain: { data: or(object({ code: text, title: text, text, fix: list(text) }), list(object({ code: text, title: text }))) },
  doctor: { data: object({ healthy: yes, findings: list(object({ code: text, level: one("ok", "warning", "error"), about: text, text, fix: list(text), repairable: yes })), "repaired?": list(text) }) },
  version: {
    data: object({
      client: object({ version: text, bun: text, protocol }),
      device: orNull(or(object({ context: text, error: failure }), object({ context: text, node: text, version: text, protocol, compatible: yes, skew: text }))),
    }),
  },
  completion: { data: object({ shell: text, script: text }) },
  __complete: { data: list(object({ word: text, help: text })) },
  help: { data: object({ help: text }) },
};

const warnings = list(text);

/** The schema of one document that `arc <name> --json` writes: the envelope, or one line of its stream. */
export function schemaOf(name: string, { data, lines }: Output): JsonSchema {
  const refused = object({ ok: one(false), error: failure, warnings });
  const help = object({ ok: one(true), data: object({ help: text }), warnings });
  const whole = data === undefined ? [] : [object({ ok: one(true), data, warnings })];
  const events = Object.entries(lines ?? {}).map(([type, members]) => object({ type: one(type), ...members }));
  return { $schema: "https://json-schema.org/draft/2020-12/schema", title: `arc ${name} --json`, description: events.length > 0 ? "One line of the output" : "The output", ...or(...whole, ...events, ...(name === "help" ? [] : [help]), refused) };
}
