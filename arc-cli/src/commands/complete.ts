//! `arc __complete WORD…`: what could stand at the last word, for the completion scripts. One candidate per line, tab, description.
//!
//! Asks the device for tools and bundles and the configuration for contexts and keys. It says nothing rather than something wrong,
//! takes at most a second and a half, and never fails: it runs at every press of Tab.

import { inputFlags } from "../client/input.ts";
import { withDevice } from "../client/session.ts";
import { type AnyCommand, type Arg, command, type Context, optionName, rest } from "../command.ts";
import { globals } from "../cli.ts";
import { entries, isGroup } from "../commands.ts";
import { configDir, loadConfig } from "../config.ts";
import { escapeLine } from "../escape.ts";
import { listKeys } from "../trust/keys.ts";

const TIME_MS = 1500;
const CANDIDATES_MAX = 200;

interface Candidate {
  readonly word: string;
  readonly help: string;
}

export const complete = command({
  name: "__complete",
  summary: "Candidates for the last word, for completion scripts",
  args: { words: rest({ value: "WORDS", help: "The words after `arc`; the last one is being written" }) },
  async run({ words }, context) {
    const bounded = { ...context, signal: AbortSignal.any([context.signal, AbortSignal.timeout(TIME_MS)]) };
    const found = await candidates(words, bounded).catch(() => []);
    const partial = words.at(-1) ?? "";
    const fitting = found.filter(({ word }) => word.startsWith(partial)).slice(0, CANDIDATES_MAX);
    context.ui.done(fitting, () => fitting.map(({ word, help }) => `${escapeLine(word)}\t${escapeLine(help)}`).join("\n"));
  },
});

async function candidates(words: readonly string[], context: Context): Promise<Candidate[]> {
  const place = await placeOf(words.slice(0, -1));
  if (place === undefined) return [];
  const { path, command: found, after } = place;
  const partial = words.at(-1) ?? "";
  const args = { ...found.args, ...globals } as Readonly<Record<string, Arg>>;
  const previous = after.at(-1);
  const option = Object.entries(args).find(([key, arg]) => arg.kind === "option" && (previous === `--${optionName(key)}` || (arg.short !== undefined && previous === `-${arg.short}`)));
  if (option !== undefined) return await valuesOf(kindOfOption(option[0], option[1]), option[1], device(after), context);
  const plain = positionalsOf(after, args);
  if (partial.startsWith("-")) return path === "invoke" ? await toolFlags(plain[0], device(after), context) : [];
  const positional = Object.values(found.args).filter((arg) => arg.kind === "positional");
  const next = positional[plain.length] ?? (positional.at(-1)?.repeat === true ? positional.at(-1) : undefined);
  return next === undefined ? [] : await valuesOf(kindOfPositional(path, next), next, device(after), context);
}

async function placeOf(words: readonly string[]): Promise<{ path: string; command: AnyCommand; after: readonly string[] } | undefined> {
  const at = words.findIndex((word) => !word.startsWith("-"));
  const entry = entries.find(({ name }) => name === words[at]);
  if (entry === undefined) return undefined;
  const loaded = await entry.load();
  const after = words.slice(at + 1);
  if (!isGroup(loaded)) return { path: entry.name, command: loaded, after };
  const inner = after.findIndex((word) => !word.startsWith("-"));
  const found = loaded.commands.find(({ name }) => name === after[inner]);
  return found === undefined ? undefined : { path: `${entry.name} ${found.name}`, command: found, after: after.slice(inner + 1) };
}

/** Words that are neither options nor values of options. */
function positionalsOf(words: readonly string[], args: Readonly<Record<string, Arg>>): string[] {
  const takesValue = (word: string): boolean => Object.entries(args).some(([key, arg]) => arg.kind === "option" && (word === `--${optionName(key)}` || (arg.short !== undefined && word === `-${arg.short}`)));
  return words.filter((word, index) => !word.startsWith("-") && !(index > 0 && takesValue(words[index - 1] ?? "")));
}

function device(words: readonly string[]): string | undefined {
  const at = words.indexOf("--context");
  return at < 0 ? undefined : words[at + 1];
}

type Kind = "tool" | "bundle" | "context" | "key" | "run" | "choices" | "nothing";

function kindOfOption(key: string, arg: Arg): Kind {
  if (arg.choices !== undefined) return "choices";
  return key === "context" ? "context" : key === "key" ? "key" : key === "tool" ? "tool" : "nothing";
}

function kindOfPositional(path: string, { value }: Arg): Kind {
  if (path === "device use" || path === "device rm") return "context";
  if (path === "key show") return "key";
  if (path === "run") return "run";
  if (/TOOL/.test(value)) return "tool";
  return path === "rm" || path === "gen client" || path === "diff" ? "bundle" : "nothing";
}

async function valuesOf(kind: Kind, arg: Arg, name: string | undefined, context: Context): Promise<Candidate[]> {
  const { signal, env } = context;
  const options = { signal, timeoutMs: TIME_MS };
  switch (kind) {
    case "tool":
      return await withDevice(name, context, "complete", async ({ tools }) => (await tools.listTools({}, options)).tools.map((tool) => ({ word: tool.name, help: tool.description.split("\n")[0] ?? "" })));
    case "bundle":
      return await withDevice(name, context, "complete", async ({ bundles }) => (await bundles.listBundles({}, options)).bundles.map((bundle) => ({ word: `${bundle.name}@${bundle.version}`, help: bundle.description })));
    case "run":
      return await withDevice(name, context, "complete", async ({ runs }) => (await runs.listRuns({ pageSize: 20 }, options)).runs.map((run) => ({ word: run.invocationId, help: `${run.tool} ${run.outcome}` })));
    case "context":
      return Object.entries((await loadConfig(configDir(env))).contexts).map(([word, { address, socket }]) => ({ word, help: address === "" ? (socket ?? "") : address }));
    case "key":
      return (await listKeys(configDir(env))).map((key) => ({ word: key.name, help: key.keyId }));
    case "choices":
      return (arg.choices ?? []).map((word) => ({ word, help: "" }));
    case "nothing":
      return [];
  }
}

async function toolFlags(tool: string | undefined, name: string | undefined, context: Context): Promise<Candidate[]> {
  if (tool === undefined) return [];
  const found = await withDevice(name, context, "complete", ({ tools }) => tools.getTool({ name: tool }, { signal: context.signal, timeoutMs: TIME_MS }));
  return inputFlags(found.tool?.inputSchemaJson ?? "{}").map(({ flag, type, description }) => ({ word: flag, help: description === "" ? type : description }));
}
