// What a case says about itself in its opening comment: `// key: value` lines before the first line of code.
// A file without such a block is a foreign case and gets the defaults.

import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";

export const PROFILES = ["tool", "tool-noexec", "tool-nojit"] as const;
export type Profile = (typeof PROFILES)[number];

export interface CaseFile {
  path: string;
  name: string;
  /** Absent for a foreign case. */
  header?: Header;
  profiles: readonly Profile[];
  heavy: boolean;
  /** Options of `arc exec`. */
  limits: readonly string[];
  /** How often one run repeats it. */
  repeats: number;
}

export interface Header {
  id: string;
  attack: string;
  /** `line`, and reasons of a failed outcome. */
  accepts: readonly string[];
  /** Steps of the cage whose removal lets it fire, or `seeded`, or `supervisor` when it is not a layer that holds it. */
  control: readonly string[];
  /** It must be over this many milliseconds after arc was started. */
  withinMs?: number;
}

export class CaseError extends Error {}

const FOREIGN_LIMITS = ["--timeout", "20s"];
const KEYS = new Set(["case", "attack", "accepts", "profiles", "cost", "control", "limits", "within", "repeats"]);

export function parseCase(path: string, source: string): CaseFile {
  const name = basename(path, ".ts");
  const fields = headerFields(source);
  const id = fields.get("case");
  if (id === undefined) return { path, name, profiles: ["tool"], heavy: false, limits: FOREIGN_LIMITS, repeats: 1 };
  const words = (key: string): string[] => (fields.get(key) ?? "").split(",").map((word) => word.trim()).filter((word) => word !== "");
  const accepts = words("accepts");
  const profiles = words("profiles").map((word) => {
    const profile = PROFILES.find((one) => one === word);
    if (profile === undefined) throw new CaseError(`${name}: unknown profile ${word}`);
    return profile;
  });
  if (accepts.length === 0 || profiles.length === 0) throw new CaseError(`${name}: the header names no outcome or no profile`);
  const within = fields.get("within");
  return {
    path, name, profiles,
    header: {
      id, accepts,
      attack: fields.get("attack") ?? "",
      control: words("control"),
      ...(within === undefined ? {} : { withinMs: milliseconds(within, name) }),
    },
    heavy: fields.get("cost") === "heavy",
    limits: (fields.get("limits") ?? FOREIGN_LIMITS.join(" ")).split(/\s+/),
    repeats: Number(fields.get("repeats") ?? 1),
  };
}

function headerFields(source: string): Map<string, string> {
  const fields = new Map<string, string>();
  for (const line of source.split("\n")) {
    if (line.trim() === "") continue;
    if (!line.startsWith("//")) break;
    const [, key, value] = /^\/\/ ([a-z]+): (.*)$/.exec(line) ?? [];
    if (key !== undefined && value !== undefined && KEYS.has(key) && !fields.has(key)) fields.set(key, value.trim());
  }
  return fields;
}

export function milliseconds(text: string, where: string): number {
  const [, amount, unit] = /^(\d+)(ms|s|m)$/.exec(text) ?? [];
  if (amount === undefined) throw new CaseError(`${where}: ${text} is no duration`);
  return Number(amount) * (unit === "ms" ? 1 : unit === "s" ? 1000 : 60_000);
}

/** Every case in a directory, by name; a file that begins with `_` is a shared module. */
export function readCases(directory: string): CaseFile[] {
  const names = readdirSync(directory).filter((name) => name.endsWith(".ts") && !name.endsWith(".d.ts") && !name.startsWith("_")).sort();
  return names.map((name) => parseCase(join(directory, name), readFileSync(join(directory, name), "utf8")));
}
