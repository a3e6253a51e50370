//! What the compiler asks the type checker, and nothing else. One implementation exists (`ts/`); a second, faster one
//! must give equal answers on the test corpus before it may take over.

import type { Diagnostic, Span } from "./diagnostics.ts";
import type { OptionLiteral } from "./options.ts";
import type { Docs, Shapes } from "./shape.ts";

/** How the entry module reaches the function: module, export, and the member of a class. */
export interface Access {
  /** Path relative to the project, with `/`. */
  readonly file: string;
  readonly exportName: string;
  readonly kind: "instance" | "static" | "definition";
  /** The method's name; empty for a definition. */
  readonly member: string;
}

/** A tool as found in the source. */
export interface FoundTool {
  /** Name of the method or constant, as written. */
  readonly sourceName: string;
  readonly span: Span;
  readonly access: Access;
  readonly options: readonly OptionLiteral[];
  readonly docs: Docs;
  /** Absent when the tool takes no input. */
  readonly input: Shapes | undefined;
  readonly inputSpan: Span;
  readonly output: Shapes;
  readonly outputSpan: Span;
  /** What `@returns` says. */
  readonly outputDescription?: string;
}

/** An `@aria` decorator as found in the source. */
export interface FoundAria {
  readonly span: Span;
  readonly options: readonly OptionLiteral[];
}

/** A decorator of the SDK in the source: what it says was read, at run time it does nothing. */
export interface Mark {
  readonly file: string;
  readonly start: number;
  readonly end: number;
}

export interface Findings {
  readonly marks: readonly Mark[];
  readonly tools: readonly FoundTool[];
  readonly aria: readonly FoundAria[];
  readonly diagnostics: readonly Diagnostic[];
}

export interface TypeOracle {
  /** Errors of the language itself: syntax, imports, types. */
  check(): Diagnostic[];
  /** Tools, and everything that stops something marked as a tool from being one. */
  find(): Findings;
  /** The author's files that were read, also those that hold nothing but types. Paths relative to the project. */
  sources(): readonly { readonly file: string; readonly text: string }[];
  /** Absolute paths of everything else that decided: dependencies' types, configuration. What arc carries is not among them. */
  dependencies(): readonly string[];
  /** Text of a file of the project, for code frames. */
  read(file: string): string | undefined;
}
