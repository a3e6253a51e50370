//! The options of a declaration as literals with their places, or a finding for each that is none.

import ts from "typescript";

import type { Located, OptionLiteral } from "../options.ts";
import type { JsonLiteral } from "../shape.ts";
import { entries, evaluate, unwrap } from "./literal.ts";
import { spanOf, type Reporter } from "./place.ts";

export class OptionSource {
  readonly #checker: ts.TypeChecker;
  readonly #reporter: Reporter;

  constructor(checker: ts.TypeChecker, reporter: Reporter) {
    this.#checker = checker;
    this.#reporter = reporter;
  }

  /** The options as literals; keys in `skip` are code and belong to somebody else. */
  read(argument: ts.Expression | undefined, skip: readonly string[] = []): OptionLiteral[] {
    if (!argument) return [];
    const literal = this.objectLiteral(argument);
    if (!literal) {
      this.#reporter.report("ARC1045", argument, "options must be an object literal", "write the options in place, or as a constant object");
      return [];
    }
    const out: OptionLiteral[] = [];
    for (const entry of entries(this.#checker, literal)) {
      if ("bad" in entry) {
        const { name } = entry.bad as { name?: ts.Node };
        if (!(name && ts.isIdentifier(name) && skip.includes(name.text))) this.#reporter.report("ARC1045", entry.bad, "this option is not a literal");
        continue;
      }
      if (entry.key !== undefined && skip.includes(entry.key)) continue;
      out.push(...this.#option(entry.key, entry.expression));
    }
    return out;
  }

  #option(key: string | undefined, expression: ts.Expression): OptionLiteral[] {
    const result = this.#locate(expression);
    if (!result) return [];
    if (key !== undefined) return [{ key, ...result }];
    return [...(result.members ?? new Map<string, Located>())].map(([name, member]) => ({ key: name, ...member }));
  }

  /** The value with the places of its parts, as far as they are written here. */
  #locate(expression: ts.Expression): Located | undefined {
    const result = evaluate(this.#checker, expression);
    if ("value" in result) return this.#parts(expression, result.value);
    this.#reporter.report("ARC1045", result.bad, "this is not a literal, and arc runs no code to find out what it is");
    return undefined;
  }

  #parts(expression: ts.Expression, value: JsonLiteral): Located {
    const inner = unwrap(expression);
    const span = spanOf(this.#reporter.root, expression);
    if (Array.isArray(value)) {
      const written = ts.isArrayLiteralExpression(inner) && !inner.elements.some(ts.isSpreadElement) ? inner.elements : undefined;
      return { value, span, items: (value as readonly JsonLiteral[]).map((item, i) => this.#part(written?.[i], item, span)) };
    }
    if (typeof value !== "object" || value === null) return { value, span };
    const written = new Map<string, ts.Expression>();
    if (ts.isObjectLiteralExpression(inner)) {
      for (const entry of entries(this.#checker, inner)) if (!("bad" in entry) && entry.key !== undefined) written.set(entry.key, entry.expression);
    }
    const members = Object.entries(value as { readonly [key: string]: JsonLiteral }).map(([key, member]) => [key, this.#part(written.get(key), member, span)] as const);
    return { value, span, members: new Map(members) };
  }

  /** A part that a constant or a spread brought is where that stands. */
  #part(expression: ts.Expression | undefined, value: JsonLiteral, outer: Located["span"]): Located {
    if (expression && !ts.isIdentifier(expression) && !ts.isPropertyAccessExpression(expression)) return this.#parts(expression, value);
    return located(value, expression ? spanOf(this.#reporter.root, expression) : outer);
  }

  /** An object literal, in place or behind a constant. */
  objectLiteral(argument: ts.Expression): ts.ObjectLiteralExpression | undefined {
    const inner = unwrap(argument);
    if (ts.isObjectLiteralExpression(inner)) return inner;
    if (!ts.isIdentifier(inner)) return undefined;
    const symbol = this.#checker.getSymbolAtLocation(inner);
    const real = symbol && (symbol.flags & ts.SymbolFlags.Alias) !== 0 ? this.#checker.getAliasedSymbol(symbol) : symbol;
    const declaration = real?.valueDeclaration;
    if (!declaration || !ts.isVariableDeclaration(declaration) || !declaration.initializer) return undefined;
    if ((ts.getCombinedNodeFlags(declaration) & ts.NodeFlags.Const) === 0) return undefined;
    const initializer = unwrap(declaration.initializer);
    return ts.isObjectLiteralExpression(initializer) ? initializer : undefined;
  }
}

/** A whole value at one place. */
function located(value: JsonLiteral, span: Located["span"]): Located {
  if (Array.isArray(value)) return { value, span, items: (value as readonly JsonLiteral[]).map((item) => located(item, span)) };
  if (typeof value !== "object" || value === null) return { value, span };
  return { value, span, members: new Map(Object.entries(value as { readonly [key: string]: JsonLiteral }).map(([key, member]) => [key, located(member, span)])) };
}
