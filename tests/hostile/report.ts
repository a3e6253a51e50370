// The escape report: what was attacked, in which profile and on which machine, what stopped it, and whether it fires without that.
//
// A run on this machine and a run in the virtual machine are two halves of one report; each keeps its rows in `out/`.

export type Machine = "host" | "vm";

export interface Row {
  name: string;
  profile: string;
  pass: boolean;
  detail: string;
  ms: number;
  attack: string;
  /** Layers whose removal lets it fire, or why there is none. */
  control: readonly string[];
  /** The reason by which the device ended it, when it did. */
  reason?: string;
}

/** One machine's half. */
export interface Half {
  machine: Machine;
  kernel: string;
  full: boolean;
  rows: readonly Row[];
  /** Cases run without their layers: whether they fired. */
  fired: Readonly<Record<string, boolean>>;
}

/** What stands behind a typed end. */
const ENDED_BY: Readonly<Record<string, string>> = {
  SECCOMP: "seccomp (killed)", OOM_KILLED: "memory limit", PIDS_LIMIT: "process limit", DISK_LIMIT: "disk limit", DEADLINE: "deadline (engine)", OUTPUT_TOO_LARGE: "output limit (engine)",
  SIGNALLED: "its own signal, told to the caller", EXITED: "its own exit, told to the caller", REVOKED: "end of the lease (engine)", TOKEN_NOT_ALLOWED: "policy (engine)",
};

/** The layer, or for what no single layer holds, the reason its header gives. */
export function stoppedBy(row: Row): string {
  const ended = row.reason === undefined ? [] : [ENDED_BY[row.reason] ?? row.reason];
  const layers = row.control.filter((name) => !name.startsWith("seeded"));
  if (ended.length > 0 && row.reason !== "SIGNALLED" && row.reason !== "EXITED") return [...ended, ...layers.filter((name) => !ended[0]!.includes(name))].join(", ");
  if (layers.length === row.control.length && layers.length > 0) return layers.join(", ");
  return [...ended, row.control.join(", ").replace(/^seeded(-env)?:? ?/, "")].filter((text) => text !== "").join("; ") || "watched from outside";
}

const numbers = (first: number, last: number): string[] => Array.from({ length: last - first + 1 }, (_, i) => `C${String(first + i).padStart(2, "0")}`);

/** What the cage must hold against. */
export const REQUIRED: readonly string[] = [...numbers(1, 23), ...numbers(30, 37), ...numbers(40, 42), ...numbers(50, 70)];

/** The required ones that a case or driver of this name is about: `c21-x32`, `C33-C36 egress`. */
export function about(name: string): string[] {
  return [...name.toUpperCase().matchAll(/\bC(\d\d)(?:-C(\d\d))?/g)].flatMap(([, from, to]) => numbers(Number(from), Number(to ?? from)));
}

interface Line {
  name: string;
  attack: string;
  stopped: string;
  fired: string;
  /** `machine profile` to held or not. */
  cells: Map<string, boolean>;
  failures: string[];
}

const base = (name: string): string => name.replace(/ \d+\/\d+$/, "");

function lines(halves: readonly Half[]): Line[] {
  const found = new Map<string, Line>();
  for (const { machine, rows, fired } of halves) {
    for (const row of rows) {
      const name = base(row.name);
      const line: Line = found.get(name) ?? { name, attack: row.attack, stopped: stoppedBy(row), fired: "", cells: new Map(), failures: [] };
      const cell = `${machine} ${row.profile}`;
      line.cells.set(cell, (line.cells.get(cell) ?? true) && row.pass);
      if (!row.pass) line.failures.push(`${cell}: ${row.detail}`);
      if (fired[name] !== undefined) line.fired = fired[name] ? "fires" : "DOES NOT FIRE";
      found.set(name, line);
    }
  }
  return [...found.values()];
}

const escaped = (text: string): string => text.replaceAll("|", "\\|").replaceAll("\n", " ").slice(0, 240);

/** The page. `command` is what makes it. */
export function report(halves: readonly Half[], command: string): string {
  const all = lines(halves);
  const columns = [...new Set(all.flatMap((line) => [...line.cells.keys()]))].sort((a, b) => Number(a.endsWith("driver")) - Number(b.endsWith("driver")) || a.localeCompare(b));
  const rows = halves.flatMap((half) => half.rows);
  const fired = new Set(halves.flatMap((half) => Object.entries(half.fired).filter(([, fires]) => fires).map(([name]) => name)));
  const tried = new Set(halves.flatMap((half) => Object.keys(half.fired)));
  const held = (line: Line, column: string): string => (line.cells.has(column) ? (line.cells.get(column) ? "held" : "**FAILED**") : "");
  return [
    "# Escape report", "",
    `Made by \`${command}\`. ${halves.map((half) => `${half.machine === "host" ? "Native" : "Virtual machine"}: ${half.kernel}, ${half.rows.length} runs${half.full ? ", all repeats" : ""}`).join(". ")}.`, "",
    `**${all.length} cases and drivers, ${rows.length} runs: ${rows.filter((row) => row.pass).length} held, ${rows.filter((row) => !row.pass).length} did not.** Positive controls: ${fired.size} of ${tried.size} fire when their layers are left out.`, "",
    "A case is stopped by the layers named beside it: run by the test-only launcher without them, it fires. Where the engine ends a case, the outcome the caller was told is named.", "",
    `| case | attack | ${columns.join(" | ")} | stopped by | without it |`, `|---|---|${columns.map(() => "---|").join("")}---|---|`,
    ...all.map((line) => `| ${line.name} | ${escaped(line.attack)} | ${columns.map((column) => held(line, column)).join(" | ")} | ${escaped(line.stopped)} | ${line.fired} |`), "",
    ...halves.flatMap((half) => {
      const seen = new Set(half.rows.flatMap((row) => about(row.name)));
      const missing = REQUIRED.filter((id) => !seen.has(id));
      const where = half.machine === "host" ? "natively" : "in the virtual machine";
      return missing.length === 0 ? [`Every one of ${REQUIRED[0]} to ${REQUIRED.at(-1)} was tried ${where}.`, ""] : [`Not tried ${where}: ${missing.join(" ")}.`, ""];
    }),
    ...all.flatMap((line) => line.failures.map((failure) => `- ${line.name}: ${escaped(failure)}`)), "",
  ].join("\n");
}
