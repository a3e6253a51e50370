//! Agents and teams from their options to their manifest entries, with every name in them resolved. Pure.

import { CONSENSUS, MEMBERS_MAX, MODEL, RANGES, SCOPES, STRATEGIES, type AgentManifest, type AgentMemory, type RunBudget, type RunLimits, type TeamManifest } from "../bundle/composites.ts";
import { NAME } from "../bundle/reader.ts";
import type { Diagnostic, Span } from "./diagnostics.ts";
import { Members } from "./members.ts";
import { kebabCase } from "./name.ts";
import type { Located } from "./options.ts";
import type { FoundComposite } from "./oracle.ts";
import { article, type Kind, type References } from "./references.ts";
import { parseToken } from "./token.ts";

const PROMPT_MAX = 64 * 1024;
const TOOLS_MAX = 256;
const MODELS_MAX = 16;
/** The modes of tokens: a part of a token of this name would be read as one. */
const RESERVED = new Set(["ro", "rw", "append", "exclusive"]);
const RESERVED_BUNDLES = new Set([...RESERVED, "aria", "arc", "exec"]);

export const OPTIONS = {
  agent: ["name", "title", "description", "model", "fallback", "prompt", "tools", "tokens", "limits", "memory", "budget", "approval"],
  team: ["name", "title", "description", "members", "strategy", "lead", "rules", "limits", "budget"],
  pipeline: ["name", "title", "description", "steps", "output", "concurrency", "timeout"],
} as const;

/** An agent, team or pipeline with its name. */
export interface Named {
  readonly found: FoundComposite;
  readonly name: string;
  readonly members: Members;
}

export function nameComposite(found: FoundComposite, own: Diagnostic[]): Named {
  const members = new Members(article(found.kind), asMembers(found), found.span, OPTIONS[found.kind], own);
  const given = members.at("name");
  const name = typeof given?.value === "string" ? given.value : kebabCase(found.sourceName);
  checkName(found.kind, name, given?.span ?? found.span, own);
  return { found, name, members };
}

/** Whether a name may be one. Tokens name bundles and tools, so words with a meaning there are not free. */
export function checkName(kind: Kind | "bundle", name: string, span: Span | undefined, own: Diagnostic[]): void {
  const place = span ? { span } : {};
  if (!NAME.test(name)) own.push({ id: "ARC1048", message: `${JSON.stringify(name)} is not the name of ${kind === "bundle" ? "a bundle" : article(kind)}`, hint: "a-z, 0-9 and -, beginning with a letter, at most 63", ...place });
  else if ((kind === "bundle" ? RESERVED_BUNDLES : RESERVED).has(name)) {
    own.push({ id: "ARC1119", message: `${JSON.stringify(name)} is reserved and cannot be the name of ${kind === "bundle" ? "a bundle" : article(kind)}`, hint: `for example ${JSON.stringify(`${name}-1`)}`, ...place });
  }
}

function asMembers(found: FoundComposite): ReadonlyMap<string, Located> {
  return new Map(found.options.map((option) => [option.key, option]));
}

export function describe({ found, name, members }: Named): { name: string; title: string; description: string } {
  return { name, title: members.text("title") ?? found.docs.title ?? "", description: members.text("description") ?? found.docs.description ?? "" };
}

/** `ownTools`: names of the tools on the agent's class. */
export function agentManifest(named: Named, ownTools: readonly string[], references: References): AgentManifest {
  const { members } = named;
  const wanted = "a model like openai:gpt-5, as in the token llm:openai:gpt-5";
  const model = members.matching("model", MODEL, wanted) ?? "none";
  const fallback = members.texts("fallback", MODELS_MAX).flatMap(({ text, span }) => {
    if (MODEL.test(text)) return [text];
    members.report("ARC1047", span, `${JSON.stringify(text)} is not ${wanted}`);
    return [];
  });
  const listed = members.texts("tools", TOOLS_MAX).flatMap(({ text, span }) => {
    const resolved = references.resolve("tool", text, span);
    if (resolved?.own !== undefined && ownTools.includes(resolved.own)) members.report("ARC1120", span, `${text} is a tool of the agent's own class and need not be listed`, "remove it from `tools`");
    return resolved ? [resolved] : [];
  });
  const own = ownTools.flatMap((name) => references.resolve("tool", name, members.span) ?? []);
  const tools = [...new Set([...own, ...listed].map(({ qualified }) => qualified))].sort();
  const implied = [...[model, ...fallback].map((name) => `llm:${name}`), ...tools.map((name) => `tool:${name}`)].flatMap((token) => {
    const parsed = parseToken(token);
    if ("canonical" in parsed) return [parsed.canonical];
    members.report("ARC1060", members.span, `the agent needs ${token}, which is not a token: ${parsed.error}`, "choose another name");
    return [];
  });
  const declared = members.texts("tokens", TOOLS_MAX).flatMap(({ text, span }) => {
    const parsed = parseToken(text);
    if ("canonical" in parsed) return [parsed.canonical];
    members.report("ARC1060", span, `${JSON.stringify(text)} is not a token: ${parsed.error}`, "kind:name[:scope]…[:mode], for example kv:orders:ro");
    return [];
  });
  return {
    ...describe(named),
    model,
    fallback,
    prompt: members.text("prompt", PROMPT_MAX) ?? "",
    tools,
    tokens: [...new Set([...declared, ...implied])].sort(),
    limits: runLimits(members),
    memory: memory(members),
    budget: runBudget(members),
    approval: members.oneOf("approval", ["never", "always", "policy"]) ?? "never",
  };
}

export function teamManifest(named: Named, references: References): TeamManifest {
  const { members } = named;
  const listed = members.texts("members", MEMBERS_MAX).flatMap(({ text, span }) => references.resolve("agent", text, span) ?? []);
  const agents = [...new Set(listed.map(({ qualified }) => qualified))];
  if (members.at("members")?.items?.length === 0) members.report("ARC1047", members.at("members")?.span ?? members.span, "a team has at least one member");
  const strategy = members.oneOf("strategy", STRATEGIES) ?? "parallel";
  const lead = leadOf(members, agents, strategy, references);
  const rules = members.inner("rules", "rules", ["consensus", "rounds"]);
  const consensus = rules.oneOf("consensus", CONSENSUS) ?? (lead === undefined ? (strategy === "sequential" ? "last" : "all") : "lead");
  if (consensus === "lead" && lead === undefined) members.report("ARC1121", rules.at("consensus")?.span ?? members.span, "the team's answer is its lead's, and it has no lead", "name one of its members: lead: \"…\"");
  return {
    ...describe(named),
    members: agents,
    strategy,
    ...(lead === undefined ? {} : { lead }),
    rules: { consensus, rounds: rules.integer("rounds", RANGES.rounds) ?? 1 },
    limits: runLimits(members),
    budget: runBudget(members),
  };
}

function leadOf(members: Members, agents: readonly string[], strategy: string, references: References): string | undefined {
  const at = members.at("lead");
  if (!at) {
    if (strategy === "hierarchical" || strategy === "delegation") members.report("ARC1121", members.at("strategy")?.span ?? members.span, `a team with the strategy ${strategy} has a lead`, "name one of its members: lead: \"…\"");
    return undefined;
  }
  const text = members.text("lead");
  const resolved = text === undefined ? undefined : references.resolve("agent", text, at.span);
  if (!resolved || agents.includes(resolved.qualified)) return resolved?.qualified;
  members.report("ARC1121", at.span, `${text} is not a member of the team`, `add it to \`members\`, or name one of them: ${agents.join(", ")}`);
  return undefined;
}

function runLimits(members: Members): RunLimits {
  const limits = members.inner("limits", "limits", ["turns", "toolCalls", "timeout"]);
  const [turns, toolCalls, timeoutMs] = [limits.integer("turns", RANGES.turns), limits.integer("toolCalls", RANGES.toolCalls), limits.duration("timeout", RANGES.timeoutMs)];
  return { ...(turns === undefined ? {} : { turns }), ...(toolCalls === undefined ? {} : { toolCalls }), ...(timeoutMs === undefined ? {} : { timeoutMs }) };
}

function runBudget(members: Members): RunBudget {
  const budget = members.inner("budget", "budget", ["modelTokens", "costMicros"]);
  const [modelTokens, costMicros] = [budget.integer("modelTokens", RANGES.modelTokens), budget.integer("costMicros", RANGES.costMicros)];
  return { ...(modelTokens === undefined ? {} : { modelTokens }), ...(costMicros === undefined ? {} : { costMicros }) };
}

function memory(members: Members): AgentMemory {
  const at = members.inner("memory", "memory", ["scope", "entries", "ttl"]);
  const [entries, ttlMs] = [at.integer("entries", RANGES.entries), at.duration("ttl", RANGES.ttlMs)];
  return { scope: at.oneOf("scope", SCOPES) ?? "run", ...(entries === undefined ? {} : { entries }), ...(ttlMs === undefined ? {} : { ttlMs }) };
}
