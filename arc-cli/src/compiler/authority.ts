//! What the code of a tool uses against what the tool declares. Pure.
//!
//! Used and not declared is an error with the line to write. Declared and not used, and what is only known when the code runs,
//! are warnings.

import type { Diagnostic, Span } from "./diagnostics.ts";
import type { Located, OptionLiteral, ToolSettings } from "./options.ts";
import type { FoundTool, Use } from "./oracle.ts";
import { covers, parseToken } from "./token.ts";

export interface Checked {
  readonly errors: readonly Diagnostic[];
  readonly warnings: readonly Diagnostic[];
}

/** One thing a tool declares: its token, and where it stands. */
interface Declared {
  readonly token: string;
  readonly text: string;
  readonly span: Span;
}

/** Kinds whose uses can be seen in the code. */
const SEEN = new Set(["kv", "vector", "tool", "net", "secret"]);

export function checkAuthority(name: string, found: FoundTool, settings: ToolSettings): Checked {
  const declared = declarations(found.options);
  const held = declared.map(({ token }) => token);
  const missing = found.uses.known.filter((use) => !isHeld(use, held, settings));
  const errors = [...firstOfEach(missing)].map((use) => undeclared(name, use, missing, settings));
  const warnings = [...unknown(name, found), ...unused(name, found, declared), ...(settings.spawn && found.uses.packages.length === 0 ? unusedSpawn(name, found) : [])];
  return { errors, warnings };
}

function declarations(options: readonly OptionLiteral[]): Declared[] {
  const of = (key: string, prefix: string): Declared[] => {
    const items: readonly Located[] = options.find((option) => option.key === key)?.items ?? [];
    return items.flatMap(({ value, span }) => {
      const parsed = typeof value === "string" ? parseToken(`${prefix}${value}`) : undefined;
      return parsed && "canonical" in parsed ? [{ token: parsed.canonical, text: String(value), span }] : [];
    });
  };
  return [...of("tokens", ""), ...of("egress", "net:"), ...of("secrets", "secret:")];
}

/** Tokens of which any one allows the use. */
function needs(use: Use): string[] {
  if (use.kind === "token") return use.enough === undefined ? [use.token] : [use.token, use.enough];
  if (use.kind === "host") return [`net:${use.host.includes(":") ? use.host : `${use.host}:443`}`];
  return use.kind === "secret" ? [`secret:${use.name}`] : [];
}

function isHeld(use: Use, held: readonly string[], settings: ToolSettings): boolean {
  if (use.kind === "spawn") return settings.spawn;
  return needs(use).some((token) => held.some((one) => covers(one, token)));
}

const keyOf = (use: Use): string => (use.kind === "spawn" ? "spawn" : (needs(use)[0] ?? ""));

function firstOfEach(uses: readonly Use[]): Iterable<Use> {
  const first = new Map<string, Use>();
  for (const use of [...uses].sort(byPlace)) if (!first.has(keyOf(use))) first.set(keyOf(use), use);
  return first.values();
}

function byPlace(a: Use, b: Use): number {
  return (a.span.file < b.span.file ? -1 : a.span.file > b.span.file ? 1 : 0) || a.span.line - b.span.line || a.span.column - b.span.column;
}

/** The hint is the whole line, with everything that is missing in it. */
function undeclared(name: string, use: Use, missing: readonly Use[], settings: ToolSettings): Diagnostic {
  const { span } = use;
  const line = (key: string, now: readonly string[], more: readonly string[]): string => `write in its options: ${key}: [${[...new Set([...now, ...more])].sort().map((text) => JSON.stringify(text)).join(", ")}]`;
  switch (use.kind) {
    case "token": {
      const more = missing.flatMap((other) => (other.kind === "token" ? [other.token] : []));
      const weaker = (token: string): boolean => [...more, ...settings.tokens].some((other) => other !== token && covers(other, token));
      // A token that is widened takes the place of the narrow one.
      const kept = settings.tokens.filter((token) => !weaker(token));
      return { id: "ARC1130", message: `tool ${name} uses ${use.token} (${use.why}) and does not declare it`, hint: line("tokens", kept, more.filter((token) => !weaker(token))), span };
    }
    case "host":
      return { id: "ARC1131", message: `tool ${name} reaches ${use.host} and does not declare it`, hint: line("egress", settings.egress, missing.flatMap((other) => (other.kind === "host" ? [other.host] : []))), span };
    case "secret":
      return { id: "ARC1132", message: `tool ${name} uses the secret ${use.name} and does not declare it`, hint: line("secrets", settings.secrets, missing.flatMap((other) => (other.kind === "secret" ? [other.name] : []))), span };
    case "spawn":
      return { id: "ARC1133", message: `tool ${name} starts a program with ${use.why} and does not declare it`, hint: "write in its options: spawn: true", span };
  }
}

function unknown(name: string, { uses }: FoundTool): Diagnostic[] {
  return uses.unknown.map(({ what, span }) => ({ id: "ARC1141" as const, message: `${what} is only known when ${name} runs, so it is not checked against what the tool declares`, hint: "the device refuses what is not declared", span }));
}

function unused(name: string, { uses }: FoundTool, declared: readonly Declared[]): Diagnostic[] {
  const needed = uses.known.flatMap((use) => (use.kind === "spawn" ? [] : [needs(use)]));
  return declared.flatMap(({ token, text, span }): Diagnostic[] => {
    const [kind = ""] = token.split(":");
    // Holding something alone is a use of its own.
    if (token.endsWith(":exclusive")) return [];
    if (!SEEN.has(kind) || uses.unknown.some((use) => use.kind === kind)) return [];
    if ((kind === "net" || kind === "secret") && uses.packages.length > 0) return [];
    // The device adds a secret to requests by itself; naming it in the code is for libraries that insist.
    if (kind === "secret" && (uses.known.some((use) => use.kind === "host") || uses.unknown.some((use) => use.kind === "net"))) return [];
    // Too narrow, which is an error of its own.
    if (needed.some((tokens) => tokens.some((asked) => asked !== token && covers(asked, token)))) return [];
    const served = needed.filter((tokens) => tokens.some((asked) => covers(token, asked)));
    if (served.length === 0) return [{ id: "ARC1140", message: `tool ${name} declares ${text} and its code does not use it`, hint: `remove ${JSON.stringify(text)}`, span }];
    const narrow = token.endsWith(":rw") ? [`${token.slice(0, -2)}ro`, `${token.slice(0, -2)}append`].find((less) => served.every(([asked]) => asked !== undefined && covers(less, asked))) : undefined;
    return narrow === undefined ? [] : [{ id: "ARC1140", message: `tool ${name} declares ${text} and its code needs no more than ${narrow}`, hint: `write ${JSON.stringify(narrow)}`, span }];
  });
}

function unusedSpawn(name: string, { uses, options }: FoundTool): Diagnostic[] {
  const option = options.find(({ key }) => key === "spawn");
  if (!option || uses.known.some(({ kind }) => kind === "spawn")) return [];
  return [{ id: "ARC1140", message: `tool ${name} declares spawn and its code starts no program`, hint: "remove `spawn: true`", span: option.span }];
}
