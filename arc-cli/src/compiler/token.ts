//! Resource tokens: `kind:name[:scope]…[:mode]`. The same grammar as `aria-types`, run against the same vectors.

const TOKEN_BYTES_MAX = 255;
const TOKEN_SEGMENTS_MAX = 8;
const SEGMENT_BYTES_MAX = 63;

const MODES = ["ro", "append", "rw", "exclusive"] as const;
type Mode = (typeof MODES)[number] | "use";

interface KindRule {
  readonly weakest: Mode;
  readonly modes: readonly Mode[];
  /** Most segments after the kind, the mode not counted. */
  readonly segmentsMax: number;
}

const data = { weakest: "ro", modes: MODES, segmentsMax: TOKEN_SEGMENTS_MAX } as const;
const service = { weakest: "use", modes: ["use", "exclusive"], segmentsMax: TOKEN_SEGMENTS_MAX } as const;
const plain = { weakest: "use", modes: ["use"], segmentsMax: 1 } as const;

const KINDS: ReadonlyMap<string, KindRule> = new Map<string, KindRule>([
  ["kv", data],
  ["vector", data],
  ["llm", service],
  ["net", { ...plain, segmentsMax: 2 }],
  ["secret", plain],
  ["fs", data],
  ["sql", data],
  ["mesh", service],
  ["tool", service],
  ["gpu", { ...service, segmentsMax: 1 }],
  ["mem", plain],
  ["cpu", plain],
]);

/** Every kind of token. */
export const tokenKinds: readonly string[] = [...KINDS.keys()];

/** Units from large to small with their size, and the largest amount. */
const QUANTITIES: ReadonlyMap<string, { readonly units: readonly (readonly [string, bigint])[]; readonly max: bigint }> = new Map([
  ["mem", { units: [["g", 1n << 30n], ["m", 1n << 20n], ["k", 1n << 10n], ["", 1n]] as const, max: 1n << 50n }],
  ["cpu", { units: [["", 1000n], ["m", 1n]] as const, max: 1_024_000n }],
]);

export type TokenReason =
  | "empty"
  | "too-long"
  | "wildcard"
  | "path-separator"
  | "encoded"
  | "space"
  | "not-ascii"
  | "upper-case"
  | "character"
  | "too-many-segments"
  | "unknown-kind"
  | "name-missing"
  | "empty-segment"
  | "segment-too-long"
  | "segment-shape"
  | "reserved"
  | "mode-not-for-kind"
  | "scope-not-for-kind"
  | "port"
  | "quantity"
  | "canonical-too-long";

export type TokenResult = { readonly canonical: string } | { readonly reason: TokenReason; readonly error: string };

/** Reads a token into its canonical text; the first rule that is broken is the error. */
export function parseToken(text: string): TokenResult {
  const bad = checkText(text);
  if (bad) return bad;
  const words = text.split(":");
  if (words.length > TOKEN_SEGMENTS_MAX) return refuse("too-many-segments", `a token of ${words.length} segments has more than ${TOKEN_SEGMENTS_MAX}`);
  const kind = words.shift() ?? "";
  const rule = KINDS.get(kind);
  if (!rule) return refuse("unknown-kind", `${JSON.stringify(kind)} is not a kind of resource (${[...KINDS.keys()].join(", ")})`);
  const written = modeOf(words.at(-1));
  if (written) words.pop();
  if (words.length === 0) return refuse("name-missing", `a ${kind} token names what it is about: ${kind}:name`);
  for (const word of words) {
    const fault = checkSegment(word);
    if (fault) return fault;
  }
  if (written && !rule.modes.includes(written)) return refuse("mode-not-for-kind", `a ${kind} token has no mode ${written}`);
  return assemble(kind, rule, words, written ?? rule.weakest);
}

function assemble(kind: string, rule: KindRule, words: readonly string[], mode: Mode): TokenResult {
  const [name = "", port] = words;
  if (words.length > rule.segmentsMax) return refuse("scope-not-for-kind", `a ${kind} token has no further scope`);
  if (kind === "net" && port !== undefined && !isPort(port)) return refuse("port", `${JSON.stringify(port)} is not a port (1 to 65535)`);
  const amount = canonicalQuantity(kind, name);
  if (amount === null) return refuse("quantity", `${JSON.stringify(name)} is not an amount of ${kind}, for example ${kind === "mem" ? "512m" : "500m"}`);
  const path = amount === undefined ? words : [amount, ...words.slice(1)];
  const canonical = [kind, ...path, ...(mode === "use" ? [] : [mode])].join(":");
  if (canonical.length > TOKEN_BYTES_MAX || canonical.split(":").length > TOKEN_SEGMENTS_MAX) {
    return refuse("canonical-too-long", "the token with its mode written out is too long");
  }
  return { canonical };
}

function modeOf(word: string | undefined): Mode | undefined {
  return MODES.find((mode) => mode === word);
}

function isPort(text: string): boolean {
  return /^[1-9][0-9]{0,4}$/.test(text) && Number(text) <= 65_535;
}

/** `undefined` for kinds that are not amounts, `null` for a text that is none. */
function canonicalQuantity(kind: string, text: string): string | null | undefined {
  const rule = QUANTITIES.get(kind);
  if (!rule) return undefined;
  const match = /^([1-9][0-9]{0,19})([a-z]*)$/.exec(text);
  const size = rule.units.find(([unit]) => unit === match?.[2])?.[1];
  if (!match?.[1] || size === undefined) return null;
  const amount = BigInt(match[1]) * size;
  if (amount > rule.max) return null;
  const [unit, unitSize] = rule.units.find(([, candidate]) => amount % candidate === 0n) ?? ["", 1n];
  return `${amount / unitSize}${unit}`;
}

function checkSegment(text: string): TokenResult | undefined {
  if (text === "") return refuse("empty-segment", "a token has an empty segment");
  if (text.length > SEGMENT_BYTES_MAX) return refuse("segment-too-long", `segment ${JSON.stringify(text)} is longer than ${SEGMENT_BYTES_MAX} bytes`);
  if (/^[.-]|[.-]$|\.\./.test(text)) return refuse("segment-shape", `segment ${JSON.stringify(text)} begins or ends with a dot or a dash, or has two dots in a row`);
  if (modeOf(text)) return refuse("reserved", `${JSON.stringify(text)} is a mode and cannot be a name`);
  return undefined;
}

function checkText(text: string): TokenResult | undefined {
  if (text === "") return refuse("empty", "a token is empty");
  const bytes = new TextEncoder().encode(text).length;
  if (bytes > TOKEN_BYTES_MAX) return refuse("too-long", `a token of ${bytes} bytes is longer than ${TOKEN_BYTES_MAX}`);
  const found = /[^a-z0-9._:-]/u.exec(text)?.[0];
  return found === undefined ? undefined : refuseCharacter(found);
}

function refuseCharacter(found: string): TokenResult {
  const shown = JSON.stringify(found);
  if (/[A-Z]/.test(found)) return refuse("upper-case", `a token is lower case, found ${shown}`);
  if ("*?[]{}".includes(found)) return refuse("wildcard", `a token has no wildcards, found ${shown}`);
  if ("/\\".includes(found)) return refuse("path-separator", `a token is not a path, found ${shown}`);
  if (found === "%") return refuse("encoded", "a token is not percent-encoded");
  if ((found.codePointAt(0) ?? 0) > 0x7f) return refuse("not-ascii", `a token is plain ASCII, found ${shown}`);
  if (found <= " " || found === "\u007f") return refuse("space", `a token has no white space or control characters, found ${shown}`);
  return refuse("character", `${shown} cannot stand in a token`);
}

function refuse(reason: TokenReason, error: string): TokenResult {
  return { reason, error };
}

/** Whether holding one canonical token allows everything that holding the other allows. */
export function covers(holder: string, asked: string): boolean {
  const [one, other] = [split(holder), split(asked)];
  if (one.kind !== other.kind) return false;
  if (QUANTITIES.has(one.kind)) return quantityOf(one) >= quantityOf(other);
  // Without a port a net token means 443, so no other port is a part of it.
  if (one.kind === "net" && one.path.length === 1 && other.path[1] !== undefined && other.path[1] !== "443") return false;
  const within = one.path.every((segment, i) => other.path[i] === segment);
  return within && (one.mode === other.mode || one.mode === "exclusive" || (one.mode === "rw" && (other.mode === "ro" || other.mode === "append")));
}

interface Parts {
  readonly kind: string;
  readonly path: readonly string[];
  readonly mode: Mode;
}

function split(canonical: string): Parts {
  const [kind = "", ...words] = canonical.split(":");
  const mode = modeOf(words.at(-1));
  return { kind, path: mode ? words.slice(0, -1) : words, mode: mode ?? "use" };
}

function quantityOf({ kind, path }: Parts): bigint {
  const [, digits = "0", unit = ""] = /^([0-9]+)([a-z]*)$/.exec(path[0] ?? "") ?? [];
  return BigInt(digits) * (QUANTITIES.get(kind)?.units.find(([name]) => name === unit)?.[1] ?? 1n);
}
