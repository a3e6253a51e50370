//! Findings as the error a person or a script sees.

import { escapeText } from "../escape.ts";
import { Exit, UserError } from "../errors.ts";
import { BundleError } from "../bundle/error.ts";
import { CompileError, fixOf, titleOf, type Diagnostic } from "./diagnostics.ts";
import { describe, place } from "./frame.ts";

const SHOWN_MAX = 20;

/** One error for all findings: the first gives code and span, all are in `details` and in the text. */
export function toUserError(error: unknown, read: (file: string) => string | undefined = () => undefined): unknown {
  if (error instanceof BundleError) return new UserError("ARC1104", `${error.message} (${error.reason})`, { exit: Exit.usage, details: { reason: error.reason } });
  if (!(error instanceof CompileError)) return error;
  const [first] = error.diagnostics;
  if (!first) return new UserError("ARC1090", error.message, { exit: Exit.build });
  const many = error.diagnostics.length;
  return new UserError(first.id, many === 1 ? headline(first) : `${many} problems, the first: ${headline(first)}`, {
    exit: first.id === "ARC1080" ? Exit.notFound : Exit.build,
    fix: first.fix ?? fixOf(first.id),
    details: { diagnostics: error.diagnostics.map((diagnostic) => ({ title: titleOf(diagnostic.id), ...diagnostic })) },
    ...(first.span ? { span: first.span } : {}),
    ...(many === 1 && first.hint !== undefined ? { hint: first.hint } : {}),
    text: escapeText(text(error.diagnostics, read)),
  });
}

function headline(diagnostic: Diagnostic): string {
  const [line = ""] = diagnostic.message.split("\n");
  return line;
}

/** One finding is said by the headline, so only its frame follows; several are listed whole. */
function text(diagnostics: readonly Diagnostic[], read: (file: string) => string | undefined): string {
  const [only] = diagnostics;
  if (diagnostics.length === 1 && only) return place(only, read);
  const shown = diagnostics.slice(0, SHOWN_MAX).map((diagnostic) => describe(diagnostic, read));
  const rest = diagnostics.length - shown.length;
  return [...shown, ...(rest > 0 ? [`… and ${rest} more; --json lists all`] : [])].join("\n\n");
}
