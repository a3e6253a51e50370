//! `arc diff`: what changes for callers, for the device's owner, and in the files, from one bundle to another.

import { type Change, compare, type Comparison } from "../bundle/compare.ts";
import { contextOption } from "../client/session.ts";
import { command, flag, positional } from "../command.ts";
import { Exit } from "../errors.ts";
import { escapeLine } from "../escape.ts";
import { type Referred, refer } from "../reference.ts";
import { bytesText } from "../table.ts";
import type { Style } from "../ui.ts";

const BUNDLE = "A bundle file, a project's directory, or [DEVICE:]NAME[@VERSION]";

export const diff = command({
  name: "diff",
  summary: "Show what differs between two bundles",
  description: "Manifest, interface (what callers see), authority (what it may touch) and files. Either side is a file, a project, or installed on a device.",
  args: {
    a: positional({ value: "A", help: BUNDLE }),
    b: positional({ value: "B", help: "The same" }),
    exitCode: flag({ help: "Exit 6 when they differ" }),
    context: contextOption,
  },
  examples: ["arc diff weather-0.1.0.aria weather-0.2.0.aria", "arc diff weather .", "arc diff vm:weather@0.1.0 board:weather@0.1.0"],
  async run({ a, b, exitCode, context: device }, context) {
    const [first, second] = [await refer(a, context, device), await refer(b, context, device)];
    // A project that is not built has no files to compare.
    const filesKnown = first.from !== "project" && second.from !== "project";
    const found = compare(withFiles(first, filesKnown), withFiles(second, filesKnown));
    const { ui } = context;
    ui.done({ a: side(first), b: side(second), ...found, filesCompared: filesKnown }, () => text(first, second, found, filesKnown, ui.style));
    return exitCode && !found.same ? Exit.conflict : Exit.ok;
  },
});

const withFiles = ({ manifest }: Referred, known: boolean): Referred["manifest"] => (known ? manifest : { ...manifest, files: [] });

function side({ name, digest, interfaceDigest, authorityDigest }: Referred): Record<string, unknown> {
  return { name, digest, interfaceDigest, authorityDigest };
}

function text(a: Referred, b: Referred, found: Comparison, filesKnown: boolean, style: Style): string {
  const head = `${escapeLine(a.name)} → ${escapeLine(b.name)}`;
  if (found.same) return `${head}: ${a.digest === b.digest && a.digest !== null ? "the same bundle" : "no difference"}${filesKnown ? "" : " (files not compared)"}`;
  const tools = found.interface.flatMap(({ tool, change, details }) => [`  ${mark(change, style)} ${escapeLine(tool)}`, ...details.map((one) => `      ${changeText(one)}`)]);
  const rights = found.authority.flatMap(({ tool, added, removed }) => [`  ${escapeLine(tool)}`, ...added.map((right) => `      ${style.yellow(`+ ${escapeLine(right)}`)}`), ...removed.map((right) => `      - ${escapeLine(right)}`)]);
  const files = found.files.map(({ path, change, sizeA, sizeB }) => `  ${mark(change, style)} ${escapeLine(path)}  ${[sizeA, sizeB].map((size) => (size === null ? "–" : bytesText(size))).join(" → ")}`);
  const section = (title: string, lines: readonly string[], same: string): string[] => ["", `${style.bold(title)}${lines.length === 0 ? `  ${same}` : ""}`, ...lines];
  return [
    head,
    ...section("manifest", found.facts.map((one) => `  ${changeText(one)}`), "unchanged"),
    ...section("interface", tools, "unchanged"),
    ...section(found.widened ? `authority ${style.yellow("WIDENED")}` : "authority", rights, "unchanged"),
    ...section("files", files, filesKnown ? "unchanged" : "not compared: a project has none before it is built"),
  ].join("\n");
}

function mark(change: "added" | "removed" | "changed", style: Style): string {
  return { added: style.green("+"), removed: style.red("-"), changed: style.yellow("~") }[change];
}

function changeText({ path, a, b }: Change): string {
  const value = (json: Change["a"]): string => {
    const whole = json === undefined ? "–" : JSON.stringify(json);
    return escapeLine(whole.length > 80 ? `${whole.slice(0, 79)}…` : whole);
  };
  return `${escapeLine(path)}  ${value(a)} → ${value(b)}`;
}
