//! What `arc doctor` concludes from what it found. Pure: facts in, findings out, `now` is an argument.

import type { ErrorJson } from "./errors.ts";
import { PROTOCOL } from "./version.ts";

export interface Finding {
  readonly code: string;
  readonly level: "ok" | "warning" | "error";
  /** What was looked at, a word or two. */
  readonly about: string;
  readonly text: string;
  /** Commands that help. */
  readonly fix: readonly string[];
  /** Exit code when this is the first error. */
  readonly exit: number;
  /** What `arc doctor --fix` does about it by itself; absent: that is for the person to decide. */
  readonly repair?: Repair;
}

/** Repairs that lose nothing and can be done twice. */
export type Repair =
  | { readonly kind: "close-key"; readonly path: string }
  | { readonly kind: "use"; readonly context: string }
  | { readonly kind: "remove-lock"; readonly path: string }
  | { readonly kind: "write-types"; readonly root: string };

/** The Bun this arc is built for and tested on. */
export const PINNED_BUN = "1.4.5";
const LOCK_STALE_MS = 60_000;
const DAY_MS = 86_400_000;
const EXPIRES_SOON_DAYS = 30;
const SKEW_WARN_MS = 30_000;
/** Certificates are dated back a day; a clock behind by more cannot use them. */
const SKEW_ERROR_MS = 12 * 3_600_000;

const ok = (code: string, about: string, text: string): Finding => ({ code, level: "ok", about, text, fix: [], exit: 0 });
const warning = (code: string, about: string, text: string, ...more: (string | Repair)[]): Finding => ({ code, level: "warning", about, text, ...split(more), exit: 0 });
const error = (code: string, exit: number, about: string, text: string, ...more: (string | Repair)[]): Finding => ({ code, level: "error", about, text, ...split(more), exit });

function split(more: readonly (string | Repair)[]): Pick<Finding, "fix" | "repair"> {
  const repair = more.find((one) => typeof one !== "string");
  return { fix: more.filter((one) => typeof one === "string"), ...(repair === undefined ? {} : { repair }) };
}

export function toolchain(bun: string): Finding {
  if (bun === PINNED_BUN) return ok("ARC2100", "toolchain", `bun ${bun}`);
  return warning("ARC2100", "toolchain", `bun ${bun}, this arc is made for ${PINNED_BUN}`, "make setup");
}

/** Credentials of one context, as read from disk; `undefined` is a file that is missing or no certificate. */
export interface Credentials {
  readonly context: string;
  readonly notBefore: number | undefined;
  readonly notAfter: number | undefined;
  readonly caReadable: boolean;
  readonly keyMode: number | undefined;
  readonly keyPath: string;
  readonly keyMatches: boolean;
}

export function credentials(found: Credentials, now: number): Finding[] {
  const about = `context ${found.context}`;
  const again = `arc device init --name ${found.context}`;
  if (found.notAfter === undefined || found.notBefore === undefined || !found.caReadable || found.keyMode === undefined) {
    return [error("ARC2102", 5, about, "its credentials are missing or unreadable", again)];
  }
  const findings: Finding[] = [];
  if (!found.keyMatches) findings.push(error("ARC2102", 4, about, "its key does not belong to its certificate", again));
  if (found.keyMode & 0o077) findings.push(warning("ARC2105", about, `others may read its key (mode ${(found.keyMode & 0o777).toString(8)})`, `chmod 600 ${found.keyPath}`, { kind: "close-key", path: found.keyPath }));
  const days = Math.floor((found.notAfter - now) / DAY_MS);
  const until = new Date(found.notAfter).toISOString().slice(0, 10);
  if (now >= found.notAfter) findings.push(error("ARC2103", 4, about, `its certificate expired on ${until}`, again));
  else if (now < found.notBefore) findings.push(error("ARC2103", 4, about, `its certificate is not valid before ${new Date(found.notBefore).toISOString()}; is this clock right?`));
  else if (days < EXPIRES_SOON_DAYS) findings.push(warning("ARC2104", about, `its certificate expires in ${days} days, on ${until}`, `arc device renew --context ${found.context}`));
  else findings.push(ok("ARC2104", about, `certificate valid until ${until}`));
  return findings;
}

/** With exactly one device there is nothing to choose. */
export function noDevice(known: readonly string[]): Finding {
  const [only] = known;
  if (only !== undefined && known.length === 1) return error("ARC2101", 5, "contexts", "no device is chosen", `arc device use ${only}`, { kind: "use", context: only });
  return error("ARC2101", 5, "contexts", "no device is chosen", "arc device init", "arc device use NAME");
}

/** A lock that nobody can hold any more: one is held for a write, not for minutes. */
export function staleLock(path: string, ageMs: number): Finding[] {
  if (ageMs < LOCK_STALE_MS) return [];
  return [warning("ARC2112", "configuration", `a lock of ${Math.round(ageMs / 60_000)} min ago was left behind`, `rm ${path}`, { kind: "remove-lock", path })];
}

/** What the editor of a project sees, when its tsconfig.json builds on it. */
export function editorTypes(root: string, written: string | undefined, arc: string): Finding[] {
  if (written === arc) return [ok("ARC2113", "project", "the editor's types are those of this arc")];
  return [warning("ARC2113", "project", written === undefined ? "the editor has no types of the SDK" : `the editor's types are of arc ${written}`, "arc check", { kind: "write-types", root })];
}

/** What went wrong on the way to the device, with the code and fix of the error itself. */
export function unreachable(name: string, failure: ErrorJson, exit: number): Finding {
  const hint = failure.hint === null ? "" : `; ${failure.hint}`;
  return { code: failure.code, level: "error", about: `device ${name}`, text: `${failure.message}${hint}`, fix: failure.fix.filter((fix) => fix !== "arc doctor"), exit };
}

/** The answer of `GetNode` that matters here. */
export interface NodeFacts {
  readonly nodeId: string;
  readonly version: string;
  readonly protocolMin: number;
  readonly protocolMax: number;
  readonly time: string;
  readonly role: string;
  readonly sandboxLayers: readonly string[];
  readonly quiltUp: boolean;
  readonly execEnabled: boolean;
}

/** `now` is the middle of the call on this machine's clock. */
export function device(name: string, node: NodeFacts, roundTripMs: number, now: number): Finding[] {
  const about = `device ${name}`;
  return [
    ok("ARC2106", about, `${node.nodeId}, version ${node.version}, role ${node.role}, answers in ${Math.round(roundTripMs)} ms`),
    clock(about, node, now),
    skew(about, node),
    node.quiltUp ? ok("ARC2108", about, "the sandbox service is up") : error("ARC2108", 7, about, "the sandbox service does not answer, so no tool can run", "arc logs"),
    ...layers(about, node),
    node.execEnabled ? ok("ARC2110", about, "`arc exec` is allowed") : ok("ARC2110", about, "`arc exec` is switched off"),
  ];
}

function clock(about: string, node: NodeFacts, now: number): Finding {
  const theirs = Date.parse(node.time);
  if (Number.isNaN(theirs)) return warning("ARC2107", about, "it does not tell its time");
  const offset = theirs - now;
  const text = `its clock is ${Math.abs(offset) < 1000 ? "right" : `${Math.round(Math.abs(offset) / 1000)} s ${offset < 0 ? "behind" : "ahead"}`}`;
  if (Math.abs(offset) >= SKEW_ERROR_MS) return error("ARC2107", 6, about, `${text}; certificates will be refused`, "date --utc");
  return Math.abs(offset) >= SKEW_WARN_MS ? warning("ARC2107", about, text, "date --utc") : ok("ARC2107", about, text);
}

/** The two must share a protocol number. */
export function skew(about: string, node: Pick<NodeFacts, "protocolMin" | "protocolMax">): Finding {
  const ours = `arc speaks protocol ${PROTOCOL.min}-${PROTOCOL.max}, the device ${node.protocolMin}-${node.protocolMax}`;
  if (node.protocolMax < PROTOCOL.min) return error("ARC2109", 6, about, `${ours}: the device is too old`);
  if (node.protocolMin > PROTOCOL.max) return error("ARC2109", 6, about, `${ours}: this arc is too old`, "make setup");
  return ok("ARC2109", about, ours);
}

/** Layers every run needs; a device that misses one says so in its list. */
const NEEDED_LAYERS = ["cgroup", "seccomp"] as const;

function layers(about: string, node: NodeFacts): Finding[] {
  // Without the service there is nothing to tell, and that is its own finding.
  if (!node.quiltUp) return [];
  const missing = NEEDED_LAYERS.filter((layer) => !node.sandboxLayers.some((found) => found.toLowerCase().startsWith(layer)));
  const list = node.sandboxLayers.join(", ");
  if (missing.length === 0) return [ok("ARC2111", about, `sandbox: ${list}`)];
  return [warning("ARC2111", about, `the sandbox does not report ${missing.join(" and ")}${list === "" ? "" : ` (has ${list})`}`)];
}
