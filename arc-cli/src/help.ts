//! Help text of arc, a group and a command: derived from the definitions, never written by hand.

import { type AnyCommand, type Arg, type Args, type Group, optionName } from "./command.ts";
import type { Style } from "./ui.ts";

export interface Heading {
  readonly name: string;
  readonly summary: string;
}

export function programHelp(sections: readonly { readonly title: string; readonly commands: readonly Heading[] }[], globals: Args, style: Style): string {
  const width = Math.max(...sections.flatMap(({ commands }) => commands.map(({ name }) => name.length)));
  const lines = ["Write tools in TypeScript, run them caged on a device.", "", `${style.bold("usage")}  arc <command> [options]`];
  for (const { title, commands } of sections) {
    lines.push("", style.bold(title));
    for (const { name, summary } of commands) lines.push(`  ${name.padEnd(width)}  ${summary}`);
  }
  lines.push("", style.bold("options"), ...optionLines(globals), "", "`arc <command> --help` shows more, `arc explain <code>` explains an error.");
  return lines.join("\n");
}

export function groupHelp(group: Group, globals: Args, style: Style): string {
  const width = Math.max(...group.commands.map(({ name }) => name.length));
  const lines = [group.summary, "", `${style.bold("usage")}  arc ${group.name} <command> [options]`];
  if (group.description !== undefined) lines.push("", group.description);
  lines.push("", style.bold("commands"));
  for (const { name, summary } of group.commands) lines.push(`  ${name.padEnd(width)}  ${summary}`);
  lines.push("", style.bold("options"), ...optionLines(globals));
  return lines.join("\n");
}

export function commandHelp(path: string, command: AnyCommand, globals: Args, style: Style): string {
  const args = Object.entries(command.args).filter(([, arg]) => !arg.hidden);
  const words = args.filter(([, arg]) => arg.kind === "positional" || arg.kind === "rest");
  const usage = words.map(([, arg]) => placeholder(arg));
  const lines = [command.summary, "", [`${style.bold("usage")}  ${path} [options]`, ...usage].join(" ")];
  if (command.description !== undefined) lines.push("", command.description);
  if (words.length > 0) lines.push("", style.bold("arguments"), ...aligned(words.map(([, arg]) => [arg.value, arg.help])));
  const own = Object.fromEntries(args.filter(([, arg]) => arg.kind === "flag" || arg.kind === "option"));
  lines.push("", style.bold("options"), ...optionLines({ ...own, ...globals }));
  if (command.examples.length > 0) lines.push("", style.bold("examples"), ...command.examples.map((example) => `  ${example}`));
  return lines.join("\n");
}

function placeholder(arg: Arg): string {
  if (arg.kind === "rest") return `[-- ${arg.value}…]`;
  const name = arg.repeat ? `${arg.value}…` : arg.value;
  return arg.required ? `<${name}>` : `[${name}]`;
}

function optionLines(args: Args): string[] {
  const rows = Object.entries(args).filter(([, arg]) => !arg.hidden);
  return aligned(rows.map(([key, arg]) => [optionHead(key, arg), optionText(arg)]));
}

function optionHead(key: string, arg: Arg): string {
  const short = arg.short === undefined ? "    " : `-${arg.short}, `;
  const value = arg.kind === "option" ? ` ${arg.value}` : "";
  return `${short}--${optionName(key)}${value}${arg.repeat ? "…" : ""}`;
}

function optionText(arg: Arg): string {
  const notes: string[] = [];
  if (arg.choices !== undefined) notes.push(arg.choices.join(", "));
  if (arg.kind === "option" && (typeof arg.absent === "string" || typeof arg.absent === "number")) notes.push(`default ${arg.absent}`);
  if (arg.env !== undefined) notes.push(`env ${arg.env}`);
  return notes.length === 0 ? arg.help : `${arg.help} (${notes.join("; ")})`;
}

function aligned(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(...rows.map(([head]) => head.length));
  return rows.map(([head, text]) => `  ${head.padEnd(width)}  ${text}`);
}
