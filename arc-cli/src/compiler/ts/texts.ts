//! Texts in the source as far as they are known without running it: names of tables, tools and secrets, and URLs.

import ts from "typescript";

import { evaluate, unwrap } from "./literal.ts";
import { isOwn, isSdkSymbol } from "./place.ts";

/** A text, or how one begins. */
export type Text = { readonly exact: string } | { readonly head: string };

/** References are followed at most this deep, and one expression has at most so many values. */
const DEPTH_MAX = 24;
const VALUES_MAX = 64;

export class Texts {
  readonly #checker: ts.TypeChecker;
  readonly #root: string;
  readonly #bindings: ReadonlyMap<ts.Node, readonly ts.Expression[]>;

  /** `bindings`: what each parameter was seen to be given. */
  constructor(checker: ts.TypeChecker, root: string, bindings: ReadonlyMap<ts.Node, readonly ts.Expression[]>) {
    this.#checker = checker;
    this.#root = root;
    this.#bindings = bindings;
  }

  /** Every text an expression may be, or nothing when one of them is not known. */
  of(expression: ts.Expression, depth = 0): readonly Text[] | undefined {
    if (depth > DEPTH_MAX) return undefined;
    const inner = unwrap(expression);
    const result = evaluate(this.#checker, inner);
    if ("value" in result) return typeof result.value === "string" ? [{ exact: result.value }] : undefined;
    const typed = this.#fromType(this.#checker.getTypeAtLocation(inner));
    if (typed) return typed;
    if (ts.isTemplateExpression(inner)) return this.#template(inner, depth);
    if (ts.isBinaryExpression(inner) && inner.operatorToken.kind === ts.SyntaxKind.PlusToken) return joined(this.of(inner.left, depth + 1), this.of(inner.right, depth + 1));
    return this.#follow(inner, depth, (next) => this.of(next, depth + 1));
  }

  /** The URLs an expression may be: texts, `URL` and `Request` objects. */
  urls(expression: ts.Expression, depth = 0): readonly Text[] | undefined {
    if (depth > DEPTH_MAX) return undefined;
    const inner = unwrap(expression);
    if (ts.isNewExpression(inner) && /^(URL|Request)$/.test(this.#checker.getTypeAtLocation(inner).symbol?.name ?? "")) {
      const [first, base] = inner.arguments ?? [];
      const own = first && this.urls(first, depth + 1);
      if (!base || own?.every((text) => /^[a-z]+:\/\//i.test("exact" in text ? text.exact : text.head))) return own;
      // The path is the first one's, the host is the base's.
      return this.urls(base, depth + 1)?.map((text) => ("exact" in text && URL.canParse(text.exact) ? { exact: new URL(text.exact).origin } : text));
    }
    if (ts.isPropertyAccessExpression(inner) && inner.name.text === "href") return this.urls(inner.expression, depth + 1);
    if (ts.isCallExpression(inner) && ts.isPropertyAccessExpression(inner.expression) && inner.expression.name.text === "toString") return this.urls(inner.expression.expression, depth + 1);
    return this.of(inner, depth) ?? this.#follow(inner, depth, (next) => this.urls(next, depth + 1));
  }

  /** The names of the tables or collections an expression may stand for. */
  handles(expression: ts.Expression | undefined, maker: "kv" | "vector", depth = 0): readonly Text[] | undefined {
    if (!expression || depth > DEPTH_MAX) return undefined;
    const inner = unwrap(expression);
    if (ts.isCallExpression(inner)) {
      const declaration = this.#checker.getResolvedSignature(inner)?.declaration;
      const symbol = declaration && (declaration as { readonly symbol?: ts.Symbol }).symbol;
      if (isSdkSymbol(this.#checker, symbol, maker)) return inner.arguments[0] && this.of(inner.arguments[0], depth + 1);
    }
    return this.#follow(inner, depth, (next) => this.handles(next, maker, depth + 1));
  }

  /** One step towards where a value comes from; every way it may come has to be known. */
  #follow(inner: ts.Expression, depth: number, go: (next: ts.Expression) => readonly Text[] | undefined): readonly Text[] | undefined {
    if (ts.isConditionalExpression(inner)) return all([inner.whenTrue, inner.whenFalse].map(go));
    if (ts.isBinaryExpression(inner) && (inner.operatorToken.kind === ts.SyntaxKind.QuestionQuestionToken || inner.operatorToken.kind === ts.SyntaxKind.BarBarToken)) return all([inner.left, inner.right].map(go));
    if (ts.isAwaitExpression(inner)) return go(inner.expression);
    if (ts.isCallExpression(inner)) return this.#returned(inner, go);
    if (ts.isIdentifier(inner) || ts.isPropertyAccessExpression(inner)) return this.#origin(inner, depth, go);
    return undefined;
  }

  #origin(node: ts.Identifier | ts.PropertyAccessExpression, depth: number, go: (next: ts.Expression) => readonly Text[] | undefined): readonly Text[] | undefined {
    const at = ts.isPropertyAccessExpression(node) ? node.name : node;
    const shorthand = ts.isShorthandPropertyAssignment(at.parent) ? this.#checker.getShorthandAssignmentValueSymbol(at.parent) : undefined;
    const symbol = shorthand ?? this.#checker.getSymbolAtLocation(at);
    const real = symbol && (symbol.flags & ts.SymbolFlags.Alias) !== 0 ? this.#checker.getAliasedSymbol(symbol) : symbol;
    const declaration = real?.valueDeclaration;
    if (!declaration || depth > DEPTH_MAX) return undefined;
    if (ts.isParameter(declaration)) {
      const given = this.#bindings.get(declaration);
      return given && all(given.slice(0, VALUES_MAX).map(go));
    }
    if (ts.isBindingElement(declaration)) {
      const holder = declaration.parent.parent;
      // `const { get } = kv("orders")`: the method comes from the handle.
      return ts.isVariableDeclaration(holder) && holder.initializer && this.#isConst(holder) ? go(holder.initializer) : undefined;
    }
    if (ts.isVariableDeclaration(declaration)) return declaration.initializer && this.#isConst(declaration) ? go(declaration.initializer) : undefined;
    if (ts.isPropertyDeclaration(declaration)) return declaration.initializer && this.#isFixed(declaration) ? go(declaration.initializer) : undefined;
    if (ts.isPropertyAssignment(declaration)) return go(declaration.initializer);
    if (ts.isShorthandPropertyAssignment(declaration)) return go(declaration.name);
    return undefined;
  }

  /** What a function of the project gives. */
  #returned(call: ts.CallExpression, go: (next: ts.Expression) => readonly Text[] | undefined): readonly Text[] | undefined {
    const declaration = this.#checker.getResolvedSignature(call)?.declaration as { readonly body?: ts.Node } & ts.Node | undefined;
    const body = declaration?.body;
    if (!declaration || !body || !isOwn(this.#root, declaration.getSourceFile())) return undefined;
    if (!ts.isBlock(body)) return go(body as ts.Expression);
    const found: ts.Expression[] = [];
    collectReturns(body, found);
    return found.length === 0 ? undefined : all(found.map(go));
  }

  #isConst(declaration: ts.VariableDeclaration): boolean {
    return (ts.getCombinedNodeFlags(declaration) & ts.NodeFlags.Const) !== 0;
  }

  /** A field nobody can give another value. */
  #isFixed(declaration: ts.PropertyDeclaration): boolean {
    return (ts.getCombinedModifierFlags(declaration) & ts.ModifierFlags.Readonly) !== 0 || ts.isPrivateIdentifier(declaration.name) || (ts.getCombinedModifierFlags(declaration) & ts.ModifierFlags.Private) !== 0;
  }

  #fromType(type: ts.Type): Text[] | undefined {
    const parts = type.isUnion() ? type.types : [type];
    if (parts.length > VALUES_MAX || !parts.every((part) => part.isStringLiteral())) return undefined;
    return parts.map((part) => ({ exact: (part as ts.StringLiteralType).value }));
  }

  #template(node: ts.TemplateExpression, depth: number): readonly Text[] {
    let out: readonly Text[] = [{ exact: node.head.text }];
    for (const span of node.templateSpans) out = joined(joined(out, this.of(span.expression, depth + 1)), [{ exact: span.literal.text }]) ?? out;
    return out;
  }
}

/** The first text with the second behind it; where the second is not known, how it begins. */
function joined(first: readonly Text[] | undefined, second: readonly Text[] | undefined): readonly Text[] | undefined {
  if (!first) return undefined;
  return first.flatMap((left): readonly Text[] => {
    if ("head" in left) return [left];
    if (!second || first.length * second.length > VALUES_MAX) return [{ head: left.exact }];
    return second.map((right) => ("exact" in right ? { exact: left.exact + right.exact } : { head: left.exact + right.head }));
  });
}

function all(parts: readonly (readonly Text[] | undefined)[]): readonly Text[] | undefined {
  const out: Text[] = [];
  for (const part of parts) {
    if (!part) return undefined;
    out.push(...part);
  }
  return out.length > VALUES_MAX ? undefined : out;
}

function collectReturns(node: ts.Node, into: ts.Expression[]): void {
  if (ts.isReturnStatement(node) && node.expression) into.push(node.expression);
  ts.forEachChild(node, (child) => {
    if (!ts.isFunctionLike(child) && !ts.isClassLike(child)) collectReturns(child, into);
  });
}
