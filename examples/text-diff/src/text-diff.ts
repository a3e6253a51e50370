import { applyPatch, createTwoFilesPatch, diffWordsWithSpace, parsePatch } from "diff";
import { defineTool } from "@aria/sdk";

/** Two versions of a text. */
export interface Versions {
  before: string;
  after: string;
  /**
   * Name shown in the patch.
   * @default "text"
   */
  name?: string;
  /**
   * Unchanged lines around each change.
   * @integer
   * @minimum 0
   * @maximum 100
   * @default 3
   */
  context?: number;
}

export interface Difference {
  /** Unified diff; empty when the texts are the same. */
  patch: string;
  /** @integer */
  added: number;
  /** @integer */
  removed: number;
}

/** What happened to a run of words. */
export interface Run {
  kind: "same" | "added" | "removed";
  text: string;
}

/** The unified diff between two texts, with counts of lines. */
export const diff = defineTool({
  annotations: { readOnly: true, idempotent: true },
  timeout: "60s",
  run: (input: Versions): Difference => {
    if (input.before === input.after) return { patch: "", added: 0, removed: 0 };
    const name = input.name ?? "text";
    const patch = createTwoFilesPatch(`a/${name}`, `b/${name}`, input.before, input.after, undefined, undefined, { context: input.context ?? 3 });
    const lines = parsePatch(patch).flatMap((file) => file.hunks.flatMap((hunk) => hunk.lines));
    return { patch, added: lines.filter((line) => line.startsWith("+")).length, removed: lines.filter((line) => line.startsWith("-")).length };
  },
});

/** Word by word, for showing a change inside a line. */
export const words = defineTool({
  annotations: { readOnly: true, idempotent: true },
  timeout: "60s",
  run: (input: { before: string; after: string }): { runs: Run[] } => ({
    runs: diffWordsWithSpace(input.before, input.after).map((part): Run => ({ kind: part.added ? "added" : part.removed ? "removed" : "same", text: part.value })),
  }),
});

/** Applies a unified diff; says so when it does not fit. */
export const patch = defineTool({
  annotations: { idempotent: false },
  timeout: "60s",
  run: (input: { text: string; patch: string }): { applied: true; text: string } | { applied: false; reason: string } => {
    const text = applyPatch(input.text, input.patch);
    return text === false ? { applied: false, reason: "the patch does not fit this text" } : { applied: true, text };
  },
});
