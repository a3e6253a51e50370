//! How a run ended, as scripts and people see it. Pure.

import { FailedReason, type FileRef, type Finished, type Outcome, type Usage } from "../gen/aria/v1/common_pb.ts";
import { Exit } from "../errors.ts";
import { RawJson, isJson } from "../json.ts";

const SIGKILL = 9;
const SIGSYS = 31;

/** One outcome with everything the device said about it. */
export type Ended =
  | { readonly kind: "succeeded"; readonly outputJson: string; readonly files: readonly FileRef[] }
  | { readonly kind: "failed"; readonly reason: string; readonly message: string; readonly stack: string; readonly exitCode?: number; readonly signal?: number }
  | { readonly kind: "cancelled"; readonly by: string }
  | { readonly kind: "refused"; readonly reason: string; readonly message: string }
  | { readonly kind: "unknown" };

export function ended(outcome: Outcome | undefined): Ended {
  const kind = outcome?.kind;
  switch (kind?.case) {
    case "succeeded":
      return { kind: "succeeded", outputJson: kind.value.outputJson, files: kind.value.files };
    case "failed": {
      const { reason, message, stack, exitCode, signal } = kind.value;
      const base = { kind: "failed" as const, reason: FailedReason[reason] ?? `REASON_${reason}`, message, stack };
      if (reason === FailedReason.EXITED) return { ...base, exitCode };
      return reason === FailedReason.SIGNALLED ? { ...base, signal } : base;
    }
    case "cancelled":
      return { kind: "cancelled", by: kind.value.by };
    case "refused":
      return { kind: "refused", reason: kind.value.reason, message: kind.value.message };
    default:
      return { kind: "unknown" };
  }
}

/** Exit code of `arc exec`: the program's own, 128+n for a signal, 125 when it never ran. */
export function programExit(end: Ended): number {
  switch (end.kind) {
    case "succeeded":
      return Exit.ok;
    case "failed":
      if (end.exitCode !== undefined) return end.exitCode & 0xff;
      if (end.signal !== undefined) return 128 + (end.signal & 0x7f);
      // The sandbox ended it: by SIGSYS for a forbidden system call, else by SIGKILL (deadline, memory, and so on).
      return 128 + (end.reason === "SECCOMP" ? SIGSYS : SIGKILL);
    case "cancelled":
      return end.by === "caller" ? Exit.interrupted : 128 + SIGKILL;
    default:
      return Exit.neverRan;
  }
}

/** One line for people, or undefined when there is nothing to say. */
export function endedText(end: Ended): string | undefined {
  switch (end.kind) {
    case "succeeded":
      return undefined;
    case "failed":
      if (end.exitCode !== undefined) return `exited with code ${end.exitCode}`;
      if (end.signal !== undefined) return `ended by signal ${end.signal}`;
      return `${end.reason}: ${end.message}`;
    case "cancelled":
      return `cancelled by ${end.by}`;
    case "refused":
      return `${end.reason}: ${end.message}`;
    case "unknown":
      return "the device did not say how the run ended";
  }
}

export function endedJson(end: Ended): Record<string, unknown> {
  if (end.kind !== "succeeded") return { ...end };
  return { kind: end.kind, output: output(end.outputJson), files: end.files.map(fileJson) };
}

export function usageJson(usage: Usage | undefined): Record<string, unknown> | null {
  if (usage === undefined) return null;
  const { wallMs, cpuMs, memoryPeakBytes, stdoutBytes, stderrBytes } = usage;
  return { wallMs, cpuMs, memoryPeakBytes, stdoutBytes, stderrBytes };
}

export function finishedJson(finished: Finished): Record<string, unknown> {
  return { invocationId: finished.invocationId, outcome: endedJson(ended(finished.outcome)), usage: usageJson(finished.usage) };
}

export function fileJson(file: FileRef): Record<string, unknown> {
  return { name: file.name, sha256: file.blob?.sha256 ?? "", sizeBytes: file.blob?.sizeBytes ?? 0n };
}

/** The answer inside a larger document, unchanged; text that is no JSON cannot break out of it. */
export function output(json: string): unknown {
  if (json === "") return null;
  return isJson(json) ? new RawJson(json) : json;
}
