//! Finds agents, teams and pipelines: classes with their decorators, constants made by their functions.

import ts from "typescript";

import type { CompositeKind, FoundComposite } from "../oracle.ts";
import { proseOf } from "./comment.ts";
import type { OptionSource } from "./options.ts";
import { spanOf, type Reporter } from "./place.ts";
import { TypeReader } from "./types.ts";

/** What the finder of tools lends. */
export interface Surroundings {
  readonly program: ts.Program;
  readonly reporter: Reporter;
  readonly options: OptionSource;
  readonly onlyExported: boolean;
  /** Whether a declaration can be reached from outside. */
  isExported(node: ts.Node): boolean;
  /** The declaration an expression initialises. */
  holder(node: ts.Node): ts.Node;
}

/** The kind and the name of its function for each decorator. */
export const COMPOSITES: readonly (readonly [CompositeKind, string])[] = [
  ["agent", "defineAgent"],
  ["team", "defineTeam"],
  ["pipeline", "definePipeline"],
];

export class CompositeFinder {
  readonly found: FoundComposite[] = [];
  readonly #around: Surroundings;
  readonly #checker: ts.TypeChecker;

  constructor(around: Surroundings) {
    this.#around = around;
    this.#checker = around.program.getTypeChecker();
  }

  decorator(kind: CompositeKind, decorator: ts.Decorator, node: ts.HasDecorators, call: ts.CallExpression | undefined): void {
    const { reporter } = this.#around;
    if (!ts.isClassDeclaration(node) || !node.name) {
      reporter.report("ARC1041", decorator, `@${kind} belongs on a class with a name`, `for a constant use ${COMPOSITES.find(([name]) => name === kind)?.[1] ?? ""}`);
      return;
    }
    // Without a call TypeScript has said what is missing.
    if (call && this.#reachable(kind, node, node.name)) this.#add(kind, node.name, call, node);
  }

  definition(kind: CompositeKind, name: string, call: ts.CallExpression): void {
    const holder = this.#around.holder(call);
    if (!ts.isVariableDeclaration(holder) || !ts.isIdentifier(holder.name) || !ts.isSourceFile(holder.parent.parent.parent)) {
      this.#around.reporter.report("ARC1052", call.expression, `${name} must be assigned to a constant of the module`, `export const name = ${name}({ … })`);
      return;
    }
    if (this.#reachable(kind, holder, holder.name)) this.#add(kind, holder.name, call, undefined);
  }

  #reachable(kind: CompositeKind, node: ts.Node, name: ts.Identifier): boolean {
    if (this.#around.isExported(node)) return true;
    const fix = ts.isClassDeclaration(node) ? "write `export class`" : "write `export const`";
    if (!this.#around.onlyExported) this.#around.reporter.report("ARC1043", name, `${name.text} is ${kind === "agent" ? "an" : "a"} ${kind} and is not exported`, fix);
    return false;
  }

  #add(kind: CompositeKind, name: ts.Identifier, call: ts.CallExpression, owner: ts.ClassDeclaration | undefined): void {
    const { program, reporter, options } = this.#around;
    const type = call.typeArguments?.[0];
    const variables = type && kind === "pipeline" ? { type: this.#checker.getTypeFromTypeNode(type), node: type } : undefined;
    this.found.push({
      kind,
      sourceName: name.text,
      span: spanOf(reporter.root, name),
      options: options.read(call.arguments[0]),
      docs: proseOf(this.#checker, this.#checker.getSymbolAtLocation(name)),
      owner: owner && ownerId(owner),
      ...(variables && {
        variables: { shapes: new TypeReader(program, this.#checker, reporter).read([variables.type], variables.node), type: { opaque: variables.type }, span: spanOf(reporter.root, variables.node) },
      }),
    });
  }
}

/** Tells the classes of one project apart. */
export function ownerId(node: ts.ClassLikeDeclaration): string {
  return `${node.getSourceFile().fileName}:${node.pos}`;
}
