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

/** A type of the program; only the oracle looks inside. */
export interface TypeHandle {
  readonly opaque: unknown;
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
  /** Absent when the tool takes no input. */
  readonly inputType: TypeHandle | undefined;
  readonly outputType: TypeHandle;
  /** The class that declares it; equal for equal classes. */
  readonly owner: string | undefined;
  /** What its code asks of the device. */
  readonly uses: Uses;
}

export type CompositeKind = "agent" | "team" | "pipeline";

/** An agent, team or pipeline as found in the source. */
export interface FoundComposite {
  readonly kind: CompositeKind;
  /** Name of the class or constant, as written. */
  readonly sourceName: string;
  readonly span: Span;
  readonly options: readonly OptionLiteral[];
  readonly docs: Docs;
  /** The class it stands on. */
  readonly owner: string | undefined;
  /** What a pipeline takes; absent when it takes nothing. */
  readonly variables?: { readonly shapes: Shapes; readonly type: TypeHandle; readonly span: Span };
}

/** A resource the code uses, where it does. */
export type Use =
  /** `enough`: a weaker token that may do. */
  | { readonly kind: "token"; readonly token: string; readonly enough?: string; readonly span: Span; readonly why: string }
  | { readonly kind: "host"; readonly host: string; readonly span: Span }
  | { readonly kind: "secret"; readonly name: string; readonly span: Span }
  | { readonly kind: "spawn"; readonly span: Span; readonly why: string };

/** A use whose name or place is only known when it runs. */
export interface UnknownUse {
  readonly kind: "kv" | "vector" | "tool" | "net" | "secret";
  readonly span: Span;
  readonly what: string;
}

export interface Uses {
  readonly known: readonly Use[];
  readonly unknown: readonly UnknownUse[];
  /** Packages whose code it reaches. Nobody looks inside: they may open connections. */
  readonly packages: readonly string[];
}

/** Questions about types that pipelines need answered. */
export interface Flows {
  /** A member by name, or an item by number; `unknown` inside any JSON. */
  member(of: TypeHandle, name: string): { readonly type: TypeHandle; readonly maybe: boolean } | "unknown" | undefined;
  /** Names of the members, for "did you mean". */
  members(of: TypeHandle): readonly string[];
  /** What an object of this type has; nothing when it is no object. */
  object(of: TypeHandle): { readonly members: readonly { readonly name: string; readonly type: TypeHandle; readonly optional: boolean }[]; readonly index: TypeHandle | undefined } | "any" | undefined;
  item(of: TypeHandle, at: number): TypeHandle | undefined;
  /** Members of a union; the type itself when it is none. */
  alternatives(of: TypeHandle): readonly TypeHandle[];
  acceptsLiteral(of: TypeHandle, value: string | number | boolean | null): boolean;
  acceptsNothing(of: TypeHandle): boolean;
  assignable(from: TypeHandle, to: TypeHandle): boolean;
  comparable(of: TypeHandle, kind: "number" | "string"): boolean;
  name(of: TypeHandle): string;
  /** A type that `@aria/sdk` exports. */
  sdk(name: string): TypeHandle;
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
  readonly composites: readonly FoundComposite[];
  readonly aria: readonly FoundAria[];
  readonly diagnostics: readonly Diagnostic[];
}

export interface TypeOracle {
  /** Errors of the language itself: syntax, imports, types. */
  check(): Diagnostic[];
  /** Tools, and everything that stops something marked as a tool from being one. */
  find(): Findings;
  readonly flows: Flows;
  /** The author's files that were read, also those that hold nothing but types. Paths relative to the project. */
  sources(): readonly { readonly file: string; readonly text: string }[];
  /** Absolute paths of everything else that decided: dependencies' types, configuration. What arc carries is not among them. */
  dependencies(): readonly string[];
  /** Text of a file of the project, for code frames. */
  read(file: string): string | undefined;
}
