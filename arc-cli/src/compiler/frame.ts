//! Code frames: the lines around a finding with a caret under it.

import type { Diagnostic, Span } from "./diagnostics.ts";

const CONTEXT_LINES = 1;
const COLUMNS_MAX = 120;
const LINES_MAX = 6;

/** `source` is the whole file the span points into. Plain text; the terminal gate escapes what is in the source. */
export function codeFrame(source: string, span: Span): string {
  const lines = source.split(/\r\n|\n|\r/);
  const first = Math.max(1, span.line - CONTEXT_LINES);
  const last = Math.min(lines.length, Math.max(span.line, Math.min(span.endLine, span.line + LINES_MAX)) + CONTEXT_LINES);
  const width = String(last).length;
  const out = [`  --> ${span.file}:${span.line}:${span.column}`];
  for (let number = first; number <= last; number += 1) {
    const raw = lines[number - 1] ?? "";
    const { text, shift } = cut(raw, number === span.line ? span.column : 1);
    out.push(`  ${String(number).padStart(width)} | ${text}`.trimEnd());
    if (number === span.line) out.push(`  ${" ".repeat(width)} | ${carets(raw, span, shift)}`);
  }
  return out.join("\n");
}

function cut(line: string, column: number): { text: string; shift: number } {
  const shift = column > COLUMNS_MAX ? column - Math.floor(COLUMNS_MAX / 2) : 0;
  const text = line.slice(shift, shift + COLUMNS_MAX).replaceAll("\t", " ");
  return { text: `${shift > 0 ? "…" : ""}${text}${shift + COLUMNS_MAX < line.length ? "…" : ""}`, shift: shift > 0 ? shift - 1 : 0 };
}

function carets(line: string, span: Span, shift: number): string {
  const end = span.endLine === span.line ? span.endColumn : line.length + 1;
  const length = Math.max(1, Math.min(end - span.column, COLUMNS_MAX));
  return `${" ".repeat(Math.max(0, span.column - 1 - shift))}${"^".repeat(length)}`;
}

/** Where a finding is: the frame if the file can be read, else its address. Empty when it has no place. */
export function place({ span }: Diagnostic, read: (file: string) => string | undefined): string {
  if (!span) return "";
  const source = read(span.file);
  return source === undefined ? `  --> ${span.file}:${span.line}:${span.column}` : codeFrame(source, span);
}

/** One finding for people: what, where, what to do. `read` gives a file of the project or nothing. */
export function describe(diagnostic: Diagnostic, read: (file: string) => string | undefined): string {
  const number = diagnostic.ts === undefined ? "" : ` (TS${diagnostic.ts})`;
  const hint = diagnostic.hint === undefined ? "" : `  hint  ${diagnostic.hint}`;
  return [`${diagnostic.id}: ${diagnostic.message}${number}`, place(diagnostic, read), hint].filter((part) => part !== "").join("\n");
}
