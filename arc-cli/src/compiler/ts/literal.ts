//! Values that can be read from the source without running it: literals, and constants made of literals.

import ts from "typescript";

import type { JsonLiteral } from "../shape.ts";

/** Either a value, or the part of the expression that is none. */
export type Evaluated = { readonly value: JsonLiteral } | { readonly bad: ts.Node };

/** References are followed at most this deep. */
const DEPTH_MAX = 32;

export function evaluate(checker: ts.TypeChecker, expression: ts.Expression, depth = 0): Evaluated {
  if (depth > DEPTH_MAX) return { bad: expression };
  const inner = unwrap(expression);
  if (ts.isStringLiteralLike(inner)) return { value: inner.text };
  if (ts.isNumericLiteral(inner)) return { value: Number(inner.text) };
  if (inner.kind === ts.SyntaxKind.TrueKeyword) return { value: true };
  if (inner.kind === ts.SyntaxKind.FalseKeyword) return { value: false };
  if (inner.kind === ts.SyntaxKind.NullKeyword) return { value: null };
  if (ts.isPrefixUnaryExpression(inner)) return negate(checker, inner, depth);
  if (ts.isBinaryExpression(inner)) return compute(checker, inner, depth);
  if (ts.isTemplateExpression(inner)) return template(checker, inner, depth);
  if (ts.isArrayLiteralExpression(inner)) return array(checker, inner, depth);
  if (ts.isObjectLiteralExpression(inner)) return object(checker, inner, depth);
  if (ts.isIdentifier(inner)) return constant(checker, inner, depth);
  if (ts.isPropertyAccessExpression(inner)) return member(checker, inner, depth);
  return { bad: inner };
}

/** Parentheses and type assertions say nothing about the value. */
export function unwrap(expression: ts.Expression): ts.Expression {
  let at = expression;
  while (ts.isParenthesizedExpression(at) || ts.isAsExpression(at) || ts.isSatisfiesExpression(at) || ts.isTypeAssertionExpression(at) || ts.isNonNullExpression(at)) at = at.expression;
  return at;
}

function negate(checker: ts.TypeChecker, node: ts.PrefixUnaryExpression, depth: number): Evaluated {
  const operand = evaluate(checker, node.operand, depth + 1);
  if (!("value" in operand)) return operand;
  if (node.operator === ts.SyntaxKind.MinusToken && typeof operand.value === "number") return { value: -operand.value };
  if (node.operator === ts.SyntaxKind.ExclamationToken && typeof operand.value === "boolean") return { value: !operand.value };
  return { bad: node };
}

function compute(checker: ts.TypeChecker, node: ts.BinaryExpression, depth: number): Evaluated {
  const left = evaluate(checker, node.left, depth + 1);
  if (!("value" in left)) return left;
  const right = evaluate(checker, node.right, depth + 1);
  if (!("value" in right)) return right;
  const [a, b] = [left.value, right.value];
  const plus = node.operatorToken.kind === ts.SyntaxKind.PlusToken;
  if (plus && (typeof a === "string" || typeof b === "string") && isScalar(a) && isScalar(b)) return { value: `${a}${b}` };
  if (typeof a !== "number" || typeof b !== "number") return { bad: node };
  switch (node.operatorToken.kind) {
    case ts.SyntaxKind.PlusToken:
      return { value: a + b };
    case ts.SyntaxKind.MinusToken:
      return { value: a - b };
    case ts.SyntaxKind.AsteriskToken:
      return { value: a * b };
    case ts.SyntaxKind.SlashToken:
      return { value: a / b };
    case ts.SyntaxKind.AsteriskAsteriskToken:
      return { value: a ** b };
    default:
      return { bad: node };
  }
}

function template(checker: ts.TypeChecker, node: ts.TemplateExpression, depth: number): Evaluated {
  let text = node.head.text;
  for (const span of node.templateSpans) {
    const part = evaluate(checker, span.expression, depth + 1);
    if (!("value" in part)) return part;
    if (!isScalar(part.value)) return { bad: span.expression };
    text += String(part.value) + span.literal.text;
  }
  return { value: text };
}

function array(checker: ts.TypeChecker, node: ts.ArrayLiteralExpression, depth: number): Evaluated {
  const out: JsonLiteral[] = [];
  for (const element of node.elements) {
    const spread = ts.isSpreadElement(element);
    const item = evaluate(checker, spread ? element.expression : element, depth + 1);
    if (!("value" in item)) return item;
    if (!spread) out.push(item.value);
    else if (Array.isArray(item.value)) out.push(...(item.value as readonly JsonLiteral[]));
    else return { bad: element };
  }
  return { value: out };
}

function object(checker: ts.TypeChecker, node: ts.ObjectLiteralExpression, depth: number): Evaluated {
  const out: Record<string, JsonLiteral> = {};
  for (const entry of entries(checker, node, depth)) {
    if ("bad" in entry) return entry;
    const value = evaluate(checker, entry.expression, depth + 1);
    if (!("value" in value)) return value;
    if (entry.key !== undefined) out[entry.key] = value.value;
    else if (isRecord(value.value)) Object.assign(out, value.value);
    else return { bad: entry.expression };
  }
  return { value: out };
}

/** A member of an object literal; a spread has no key. */
export type Entry = { readonly key: string | undefined; readonly expression: ts.Expression; readonly node: ts.Node } | { readonly bad: ts.Node };

/** The members of an object literal as far as their keys are known; methods and accessors are `bad`. */
export function entries(checker: ts.TypeChecker, node: ts.ObjectLiteralExpression, depth = 0): Entry[] {
  return node.properties.map((property): Entry => {
    if (ts.isSpreadAssignment(property)) return { key: undefined, expression: property.expression, node: property };
    const key = property.name === undefined ? undefined : keyOf(checker, property.name, depth);
    if (key === undefined) return { bad: property };
    if (ts.isPropertyAssignment(property)) return { key, expression: property.initializer, node: property };
    if (ts.isShorthandPropertyAssignment(property)) return { key, expression: property.name, node: property };
    return { bad: property };
  });
}

function keyOf(checker: ts.TypeChecker, name: ts.PropertyName, depth: number): string | undefined {
  if (ts.isIdentifier(name) || ts.isStringLiteralLike(name) || ts.isNumericLiteral(name)) return name.text;
  if (!ts.isComputedPropertyName(name)) return undefined;
  const key = evaluate(checker, name.expression, depth + 1);
  return "value" in key && typeof key.value === "string" ? key.value : undefined;
}

/** A name leads to a `const` with a literal initialiser, here or in another file. */
function constant(checker: ts.TypeChecker, node: ts.Identifier, depth: number): Evaluated {
  const shorthand = ts.isShorthandPropertyAssignment(node.parent) ? checker.getShorthandAssignmentValueSymbol(node.parent) : undefined;
  const symbol = shorthand ?? checker.getSymbolAtLocation(node);
  if (!symbol) return { bad: node };
  const real = (symbol.flags & ts.SymbolFlags.Alias) !== 0 ? checker.getAliasedSymbol(symbol) : symbol;
  const declaration = real.valueDeclaration;
  if (!declaration || !ts.isVariableDeclaration(declaration) || !declaration.initializer) return { bad: node };
  if ((ts.getCombinedNodeFlags(declaration) & ts.NodeFlags.Const) === 0) return { bad: node };
  const result = evaluate(checker, declaration.initializer, depth + 1);
  return "value" in result ? result : { bad: node };
}

function member(checker: ts.TypeChecker, node: ts.PropertyAccessExpression, depth: number): Evaluated {
  // Enum members have a constant value of their own.
  const known = checker.getConstantValue(node);
  if (known !== undefined) return { value: known };
  const target = evaluate(checker, node.expression, depth + 1);
  if (!("value" in target)) return { bad: node };
  const value = isRecord(target.value) && Object.hasOwn(target.value, node.name.text) ? target.value[node.name.text] : undefined;
  return value === undefined ? { bad: node } : { value };
}

function isScalar(value: JsonLiteral): value is string | number | boolean {
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean";
}

function isRecord(value: JsonLiteral): value is { readonly [key: string]: JsonLiteral } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
