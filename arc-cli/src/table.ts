//! Columns for people. Cells are escaped here, so a name from a device cannot break the layout.

import { escapeLine } from "./escape.ts";

export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const safe = [head, ...rows.map((row) => row.map(escapeLine))];
  const widths = head.map((_, column) => Math.max(...safe.map((row) => Bun.stringWidth(row[column] ?? ""))));
  return safe.map((row) => row.map((cell, column) => cell + " ".repeat(Math.max(0, (widths[column] ?? 0) - Bun.stringWidth(cell)))).join("  ").trimEnd()).join("\n");
}

/** 1536 → "1.5 KiB". */
export function bytesText(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let [value, unit] = [bytes, 0];
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** "3 h ago"; the future and nonsense are shown as they are. */
export function ago(time: string, now: number): string {
  const then = Date.parse(time);
  if (Number.isNaN(then) || then > now + 60_000) return time;
  const seconds = Math.max(0, Math.round((now - then) / 1000));
  const steps: readonly (readonly [number, string])[] = [[86_400, "d"], [3600, "h"], [60, "min"]];
  for (const [size, unit] of steps) if (seconds >= size) return `${Math.floor(seconds / size)} ${unit} ago`;
  return "just now";
}

/** `1 tool`, `3 tools`. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** What a bundle declares: `2 tools, 1 agent`. */
export function countDeclared(bundle: { readonly [kind in "tools" | "agents" | "teams" | "pipelines"]: readonly unknown[] }): string {
  const kinds = [["tool", bundle.tools], ["agent", bundle.agents], ["team", bundle.teams], ["pipeline", bundle.pipelines]] as const;
  const some = kinds.filter(([, list]) => list.length > 0).map(([noun, list]) => counted(list.length, noun));
  return some.length === 0 ? "0 tools" : some.join(", ");
}
