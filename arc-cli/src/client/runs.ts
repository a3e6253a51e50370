//! Kept runs as scripts and people see them.

import type { BlobRef } from "../gen/aria/v1/common_pb.ts";
import type { Run } from "../gen/aria/v1/runs_pb.ts";
import type { Style } from "../ui.ts";
import { usageJson } from "./outcome.ts";

export function runJson(run: Run): Record<string, unknown> {
  const { invocationId, tool, bundleDigest, owner, startedAt, endedAt, outcome, message, usage, input, output, logDroppedBytes } = run;
  return { invocationId, tool, bundleDigest, owner, startedAt, endedAt: endedAt === "" ? null : endedAt, outcome, message, usage: usageJson(usage), input: valueJson(input), output: valueJson(output), logDroppedBytes };
}

function valueJson(value: BlobRef | undefined): Record<string, unknown> | null {
  return value === undefined ? null : { sha256: value.sha256, sizeBytes: value.sizeBytes };
}

/** 850 ms, 1.2 s, 3 min. */
export function durationText(milliseconds: bigint): string {
  const value = Number(milliseconds);
  if (value < 1000) return `${value} ms`;
  return value < 120_000 ? `${(value / 1000).toFixed(1)} s` : `${Math.round(value / 60_000)} min`;
}

export function outcomeText(outcome: string, style: Style): string {
  if (outcome === "succeeded") return style.green(outcome);
  return outcome === "running" || outcome === "cancelled" ? style.yellow(outcome) : style.red(outcome);
}
