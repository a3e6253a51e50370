//! The options of a tool, from literals to manifest values. Pure: literals with their places in, values and findings out.

import { HOST, LIMIT_RANGES, SECRET, type Annotations, type Approval, type Limits } from "../bundle/manifest.ts";
import { NAME, TIMEOUT_MS_MAX } from "../bundle/reader.ts";
import { didYouMean } from "../suggest.ts";
import type { Diagnostic, DiagnosticId, Span } from "./diagnostics.ts";
import type { JsonLiteral } from "./shape.ts";
import { parseToken } from "./token.ts";

/** A value as it stands in the source, with the places of its parts. */
export interface Located {
  readonly value: JsonLiteral;
  readonly span: Span;
  /** Of an array. */
  readonly items?: readonly Located[];
  /** Of an object. */
  readonly members?: ReadonlyMap<string, Located>;
}

/** One option as it stands in the source. */
export interface OptionLiteral extends Located {
  readonly key: string;
}

export interface ToolSettings {
  readonly name: string | undefined;
  readonly title: string | undefined;
  readonly description: string | undefined;
  readonly tokens: readonly string[];
  readonly egress: readonly string[];
  readonly secrets: readonly string[];
  readonly annotations: Annotations;
  readonly limits: Limits;
  readonly timeoutMs: number;
  readonly approval: Approval;
  readonly spawn: boolean;
  readonly jit: boolean;
}

export const TIMEOUT_MS_DEFAULT = 30_000;
const TIMEOUT_MS_MIN = 1;
const TEXT_MAX = 4096;

const KEYS = ["name", "title", "description", "tokens", "egress", "secrets", "annotations", "limits", "timeout", "approval", "spawn", "jit"] as const;
const ANNOTATIONS = ["readOnly", "destructive", "idempotent", "openWorld"] as const;

interface LimitRule {
  readonly key: keyof Limits;
  /** A size in bytes may be written like "256M". */
  readonly size: boolean;
}

const LIMITS: Readonly<Record<string, LimitRule>> = {
  memory: { key: "memoryBytes", size: true },
  pids: { key: "pids", size: false },
  cpuMillis: { key: "cpuMillis", size: false },
  disk: { key: "diskBytes", size: true },
  output: { key: "outputBytes", size: true },
};

/** Reads the options; what is wrong becomes a finding and falls back to its default, so that one run shows all faults. */
export function readOptions(options: readonly OptionLiteral[]): { settings: ToolSettings; diagnostics: Diagnostic[] } {
  const reader = new OptionReader(options);
  const settings: ToolSettings = {
    name: reader.name(),
    title: reader.text("title"),
    description: reader.text("description"),
    tokens: reader.tokens(),
    egress: reader.words("egress", HOST, "ARC1061", "a host like api.example.com or api.example.com:8443"),
    secrets: reader.words("secrets", SECRET, "ARC1062", "a name like stripe-key"),
    annotations: reader.annotations(),
    limits: reader.limits(),
    timeoutMs: reader.timeout(),
    approval: reader.approval(),
    spawn: reader.flag("spawn", false),
    jit: reader.flag("jit", true),
  };
  return { settings, diagnostics: reader.diagnostics };
}

class OptionReader {
  readonly diagnostics: Diagnostic[] = [];
  readonly #options: ReadonlyMap<string, OptionLiteral>;

  constructor(options: readonly OptionLiteral[]) {
    this.#options = new Map(options.map((option) => [option.key, option]));
    for (const option of options) {
      if (!(KEYS as readonly string[]).includes(option.key)) this.#report("ARC1046", option, `a tool has no option ${JSON.stringify(option.key)}`, didYouMean(option.key, KEYS) ?? `known: ${KEYS.join(", ")}`);
    }
  }

  name(): string | undefined {
    const option = this.#options.get("name");
    if (!option) return undefined;
    if (typeof option.value === "string" && NAME.test(option.value)) return option.value;
    this.#report("ARC1048", option, `${JSON.stringify(option.value)} is not a tool name`, "a-z, 0-9 and -, beginning with a letter, at most 63");
    return undefined;
  }

  text(key: "title" | "description"): string | undefined {
    const option = this.#options.get(key);
    if (!option) return undefined;
    if (typeof option.value === "string" && option.value.length <= TEXT_MAX && option.value.isWellFormed()) return option.value;
    this.#report("ARC1047", option, `${key} is a text of at most ${TEXT_MAX} characters`);
    return undefined;
  }

  tokens(): string[] {
    const canonical: string[] = [];
    for (const [text, option] of this.#texts("tokens", "ARC1060")) {
      const parsed = parseToken(text);
      if ("canonical" in parsed) canonical.push(parsed.canonical);
      else this.#report("ARC1060", option, `${JSON.stringify(text)} is not a token: ${parsed.error}`, "kind:name[:scope]…[:mode], for example kv:orders:ro");
    }
    return sortedUnique(canonical);
  }

  words(key: "egress" | "secrets", pattern: RegExp, id: DiagnosticId, wanted: string): string[] {
    const good: string[] = [];
    for (const [text, option] of this.#texts(key, id)) {
      if (pattern.test(text)) good.push(text);
      // A secret written where its name belongs must not end up in a log.
      else this.#report(id, option, `${key === "secrets" ? "this" : JSON.stringify(text)} is not ${wanted}`);
    }
    return sortedUnique(good);
  }

  annotations(): Annotations {
    const out: Record<string, boolean> = {};
    for (const [key, value, option] of this.#members("annotations")) {
      if (!(ANNOTATIONS as readonly string[]).includes(key)) this.#report("ARC1046", option, `annotations have no ${JSON.stringify(key)}`, didYouMean(key, ANNOTATIONS) ?? `known: ${ANNOTATIONS.join(", ")}`);
      else if (typeof value !== "boolean") this.#report("ARC1047", option, `annotations.${key} is true or false`);
      else out[key] = value;
    }
    return Object.fromEntries(ANNOTATIONS.filter((key) => key in out).map((key) => [key, out[key] ?? false]));
  }

  limits(): Limits {
    const out: Partial<Record<keyof Limits, number>> = {};
    for (const [key, value, option] of this.#members("limits")) {
      const rule = Object.hasOwn(LIMITS, key) ? LIMITS[key] : undefined;
      if (!rule) {
        this.#report("ARC1046", option, `limits have no ${JSON.stringify(key)}`, didYouMean(key, Object.keys(LIMITS)) ?? `known: ${Object.keys(LIMITS).join(", ")}`);
        continue;
      }
      const amount = typeof value === "number" ? value : rule.size && typeof value === "string" ? parseBytes(value) : undefined;
      const [min, max] = LIMIT_RANGES[rule.key];
      if (amount === undefined || !Number.isSafeInteger(amount) || amount < min || amount > max) {
        this.#report("ARC1047", option, `limits.${key} is ${rule.size ? 'a size like "256M"' : "a whole number"} between ${min} and ${max}`);
        continue;
      }
      out[rule.key] = amount;
    }
    return Object.fromEntries(Object.values(LIMITS).filter(({ key }) => out[key] !== undefined).map(({ key }) => [key, out[key] ?? 0]));
  }

  timeout(): number {
    const option = this.#options.get("timeout");
    if (!option) return TIMEOUT_MS_DEFAULT;
    const value = typeof option.value === "number" ? option.value : typeof option.value === "string" ? parseDuration(option.value) : undefined;
    if (value !== undefined && Number.isSafeInteger(value) && value >= TIMEOUT_MS_MIN && value <= TIMEOUT_MS_MAX) return value;
    this.#report("ARC1047", option, `timeout is a time between 1 ms and 24 h, for example "5s", "500ms" or "2m"`);
    return TIMEOUT_MS_DEFAULT;
  }

  approval(): Approval {
    const option = this.#options.get("approval");
    if (!option) return "never";
    if (option.value === "never" || option.value === "always" || option.value === "policy") return option.value;
    this.#report("ARC1047", option, "approval is never, always or policy");
    return "never";
  }

  flag(key: "spawn" | "jit", absent: boolean): boolean {
    const option = this.#options.get(key);
    if (!option) return absent;
    if (option.value === false && key === "jit" && this.#options.get("spawn")?.value === true) {
      this.#report("ARC1047", option, "jit: false and spawn: true exclude each other: what a program starts would make machine code again", "remove one of the two");
    }
    if (typeof option.value === "boolean") return option.value;
    this.#report("ARC1047", option, `${key} is true or false`);
    return absent;
  }

  *#texts(key: "tokens" | "egress" | "secrets", id: DiagnosticId): Iterable<[string, OptionLiteral]> {
    const option = this.#options.get(key);
    if (!option) return;
    if (!Array.isArray(option.value)) {
      this.#report("ARC1047", option, `${key} is an array of texts`);
      return;
    }
    for (const item of option.value as readonly JsonLiteral[]) {
      if (typeof item === "string") yield [item, option];
      else this.#report(id, option, `${key} holds ${JSON.stringify(item)}, which is not a text`);
    }
  }

  *#members(key: "annotations" | "limits"): Iterable<[string, JsonLiteral, OptionLiteral]> {
    const option = this.#options.get(key);
    if (!option) return;
    if (typeof option.value !== "object" || option.value === null || Array.isArray(option.value)) {
      this.#report("ARC1047", option, `${key} is an object`);
      return;
    }
    for (const [name, value] of Object.entries(option.value as { readonly [key: string]: JsonLiteral })) yield [name, value, option];
  }

  #report(id: DiagnosticId, option: OptionLiteral, message: string, hint?: string): void {
    this.diagnostics.push({ id, message, span: option.span, ...(hint === undefined ? {} : { hint }) });
  }
}

function sortedUnique(texts: readonly string[]): string[] {
  return [...new Set(texts)].sort();
}

/** `"256M"`, `"1.5G"`, `"64KiB"`, `"4096"`; units are powers of 1024. */
export function parseBytes(text: string): number | undefined {
  const match = /^(\d{1,15}(?:\.\d{1,3})?)\s?([kmgt]?)(?:i?b)?$/i.exec(text);
  if (!match?.[1]) return undefined;
  const power = ["", "k", "m", "g", "t"].indexOf((match[2] ?? "").toLowerCase());
  const bytes = Number(match[1]) * 1024 ** power;
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** `"500ms"`, `"5s"`, `"2m"`, `"1h"` to milliseconds. */
export function parseDuration(text: string): number | undefined {
  const match = /^(\d{1,9}(?:\.\d{1,3})?)\s?(ms|s|m|h)$/.exec(text);
  if (!match?.[1]) return undefined;
  const size = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[match[2] as "ms" | "s" | "m" | "h"];
  const value = Number(match[1]) * size;
  return Number.isSafeInteger(value) ? value : undefined;
}
