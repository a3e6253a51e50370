//! Names that point at other declarations: of this bundle, or of another one that arc.toml and arc.lock name.

import { NAME } from "../bundle/reader.ts";
import { didYouMean } from "../suggest.ts";
import { satisfies, type Dependencies, type Pinned } from "./dependencies.ts";
import type { Diagnostic, DiagnosticId, Span } from "./diagnostics.ts";

export type Kind = "tool" | "agent" | "team" | "pipeline";

export interface Own {
  readonly kind: Kind;
  readonly name: string;
}

/** What a name means: `<bundle>.<name>`, and the plain name when it is this bundle's. */
export interface Resolved {
  readonly qualified: string;
  readonly own: string | undefined;
}

const UNKNOWN: Readonly<Record<Kind, DiagnosticId>> = { tool: "ARC1110", agent: "ARC1111", team: "ARC1112", pipeline: "ARC1113" };
const SHOWN_MAX = 10;

export class References {
  readonly #bundle: string;
  readonly #own: readonly Own[];
  readonly #dependencies: Dependencies;
  readonly #found: Diagnostic[];

  constructor(bundle: string, own: readonly Own[], dependencies: Dependencies, found: Diagnostic[]) {
    this.#bundle = bundle;
    this.#own = own;
    this.#dependencies = dependencies;
    this.#found = found;
  }

  /** What a name of a kind means, or nothing after saying why it means nothing. */
  resolve(kind: Kind, text: string, span: Span): Resolved | undefined {
    const parts = text.split(".");
    const [first = "", second] = parts;
    if (parts.length > 2 || !parts.every((part) => NAME.test(part))) return this.#refuse(UNKNOWN[kind], span, `${JSON.stringify(text)} is not the name of ${article(kind)}`, this.#near(kind, text));
    if (second === undefined || first === this.#bundle) return this.#mine(kind, second ?? first, text, span);
    return this.#foreign(kind, first, second, span);
  }

  #mine(kind: Kind, name: string, text: string, span: Span): Resolved | undefined {
    if (this.#own.some((own) => own.kind === kind && own.name === name)) return { qualified: `${this.#bundle}.${name}`, own: name };
    const other = this.#own.find((own) => own.name === name);
    if (other) return this.#refuse(UNKNOWN[kind], span, `${name} is ${article(other.kind)}, not ${article(kind)}`);
    return this.#refuse(UNKNOWN[kind], span, `there is no ${kind} ${text} in this bundle`, this.#near(kind, name));
  }

  #near(kind: Kind, name: string): string {
    const names = this.#own.filter((own) => own.kind === kind && NAME.test(own.name)).map((own) => own.name).sort();
    const known = names.slice(0, SHOWN_MAX).join(", ") + (names.length > SHOWN_MAX ? ", …" : "");
    return didYouMean(name, names) ?? (names.length === 0 ? `this bundle declares no ${kind}` : `known: ${known}`);
  }

  #foreign(kind: Kind, bundle: string, name: string, span: Span): Resolved | undefined {
    const { wanted, pinned } = this.#dependencies;
    const range = wanted.get(bundle);
    if (range === undefined) {
      const near = didYouMean(bundle, [this.#bundle, ...wanted.keys()]);
      return this.#refuse("ARC1125", span, `bundle ${bundle} is no dependency of this project`, near ?? `write in arc.toml: [dependencies] ${bundle} = "^1.0.0"`);
    }
    const found = pinned.get(bundle);
    if (!found) return this.#refuse("ARC1126", span, `bundle ${bundle} (${range}) is in arc.toml and not in arc.lock, so it is not known what it holds`, "run `arc install`, which resolves and pins it");
    if (!satisfies(found.version, range)) return this.#refuse("ARC1127", span, `arc.lock has ${bundle} ${found.version}, arc.toml asks for ${range}`, "run `arc install --update`, or change the range");
    return this.#in(found, kind, bundle, name, span);
  }

  #in({ contents, version }: Pinned, kind: Kind, bundle: string, name: string, span: Span): Resolved | undefined {
    const known = contents?.[kind];
    if (known && !known.includes(name)) {
      return this.#refuse("ARC1128", span, `${bundle} ${version} has no ${kind} ${name}`, didYouMean(name, known) ?? (known.length === 0 ? `it has no ${kind} at all` : `known: ${known.slice(0, SHOWN_MAX).join(", ")}`));
    }
    return { qualified: `${bundle}.${name}`, own: undefined };
  }

  #refuse(id: DiagnosticId, span: Span, message: string, hint?: string): undefined {
    this.#found.push({ id, message, span, ...(hint === undefined ? {} : { hint }) });
    return undefined;
  }
}

export function article(kind: Kind): string {
  return kind === "agent" ? "an agent" : `a ${kind}`;
}
