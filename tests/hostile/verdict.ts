// Judges one run of a case from what it printed and how it ended. No I/O.
//
// A case passes with its line `"escaped":false`, or without any line when the device ended it with a typed refusal. Everything
// else fails: a line with `escaped:true` or `null`, silence, a plain exit, a crash of arc, a reason the case does not name.

import type { Header } from "./case-file.ts";

export interface Line {
  case: string;
  escaped: boolean | null;
  detail: string;
}

/** How `arc exec --json` said the run ended. */
export type Ended =
  | { kind: "succeeded" }
  | { kind: "failed"; reason: string; exitCode?: number; signal?: number; message?: string }
  | { kind: "refused"; reason: string; message?: string }
  | { kind: "cancelled"; by: string }
  | { kind: "never_ran"; error: string }
  /** arc ended without an outcome. */
  | { kind: "silent"; error: string };

export interface RunRecord {
  lines: readonly Line[];
  ended: Ended;
  elapsedMs: number;
  /** A planted secret seen anywhere in the output. */
  canary?: string;
}

export interface Verdict {
  pass: boolean;
  detail: string;
}

/** Reasons by which a device ends a program that misbehaves. `EXITED` is not one: a program chooses that itself. */
const TYPED = new Set(["SECCOMP", "DEADLINE", "OOM_KILLED", "PIDS_LIMIT", "DISK_LIMIT", "OUTPUT_TOO_LARGE", "RESULT_INVALID", "SIGNALLED", "TRAPPED"]);

/** A case line, or undefined. Only the documented shape counts. */
export function parseLine(text: string): Line | undefined {
  if (!text.startsWith("{") || !text.includes('"escaped"')) return undefined;
  try {
    const value = JSON.parse(text) as Partial<Line>;
    if (typeof value.case !== "string" || !(typeof value.escaped === "boolean" || value.escaped === null)) return undefined;
    return { case: value.case, escaped: value.escaped, detail: typeof value.detail === "string" ? value.detail : "" };
  } catch {
    return undefined;
  }
}

export function describe(ended: Ended): string {
  switch (ended.kind) {
    case "succeeded":
      return "ended normally";
    case "failed":
      return `${ended.reason}${ended.exitCode === undefined ? "" : ` code ${ended.exitCode}`}${ended.signal === undefined ? "" : ` signal ${ended.signal}`}`;
    case "refused":
      return `refused ${ended.reason}`;
    case "cancelled":
      return `cancelled by ${ended.by}`;
    case "never_ran":
      return `never ran: ${ended.error}`;
    case "silent":
      return `arc gave no outcome: ${ended.error}`;
  }
}

export function judge(run: RunRecord, header: Header | undefined): Verdict {
  const end = describe(run.ended);
  const fail = (detail: string): Verdict => ({ pass: false, detail });
  if (run.canary !== undefined) return fail(`a planted secret was printed: ${run.canary}`);
  const escape = run.lines.find((line) => line.escaped === true);
  if (escape !== undefined) return fail(`escaped: ${escape.detail}`);
  if (run.ended.kind === "never_ran" || run.ended.kind === "silent") return fail(end);
  const last = run.lines.at(-1);
  if (last !== undefined && last.escaped === null) return fail(last.detail === "" ? "inconclusive" : last.detail);
  if (header?.withinMs !== undefined && run.elapsedMs > header.withinMs) return fail(`${end} after ${Math.round(run.elapsedMs)} ms, within ${header.withinMs} ms was promised`);
  return header === undefined ? judgeForeign(run, last, end) : judgeOwn(run, last, end, header);
}

function judgeForeign(run: RunRecord, last: Line | undefined, end: string): Verdict {
  if (last !== undefined) return { pass: true, detail: last.detail };
  if (run.ended.kind === "refused" || (run.ended.kind === "failed" && TYPED.has(run.ended.reason))) return { pass: true, detail: end };
  return { pass: false, detail: `no line and no typed refusal: ${end}` };
}

function judgeOwn(run: RunRecord, last: Line | undefined, end: string, header: Header): Verdict {
  if (last !== undefined && header.accepts.includes("line")) {
    if (run.ended.kind === "succeeded") return { pass: true, detail: last.detail };
    return { pass: false, detail: `printed its line, then: ${end}` };
  }
  if (run.ended.kind === "failed" && header.accepts.includes(run.ended.reason)) return { pass: true, detail: end };
  // The device ended it for a reason of its own, such as a lease that is over; nobody here presses a key.
  if (run.ended.kind === "cancelled" && header.accepts.includes("CANCELLED")) return { pass: true, detail: end };
  return { pass: false, detail: `${end}${last === undefined ? "" : ` with a line`}; accepted are ${header.accepts.join(", ")}` };
}
