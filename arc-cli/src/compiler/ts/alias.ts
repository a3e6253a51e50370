//! Which names of types a member is written with. The checker forgets the name of a plain type (`type Age = number`), and
//! with it what the name's doc comment demands; the source still has it.

import ts from "typescript";

/** Chains of names are short; a circle is an error of the language. */
const CHAIN_MAX = 16;

export interface Aliases {
  /** Names that stand for the whole value, perhaps beside null or undefined; the outermost first. */
  readonly whole: readonly ts.Symbol[];
  /** Names that stand for a part of it: an item, a member of a union. */
  readonly parts: readonly ts.Symbol[];
}

export function aliasesOf(checker: ts.TypeChecker, symbol: ts.Symbol): Aliases {
  const whole: ts.Symbol[] = [];
  const parts = new Set<ts.Symbol>();
  let at = (symbol.valueDeclaration as { readonly type?: ts.TypeNode } | undefined)?.type;
  while (at && whole.length < CHAIN_MAX) {
    const node = present(at);
    const alias = aliasOf(checker, node);
    if (!alias) {
      ts.forEachChild(node, (child) => collect(checker, child, parts));
      break;
    }
    whole.push(alias.symbol);
    if (ts.isTypeReferenceNode(node)) for (const argument of node.typeArguments ?? []) collect(checker, argument, parts);
    at = alias.type;
  }
  return { whole, parts: [...parts].filter((part) => !whole.includes(part)) };
}

/** The type where a value is there: without parentheses, null and undefined. */
function present(node: ts.TypeNode): ts.TypeNode {
  if (ts.isParenthesizedTypeNode(node)) return present(node.type);
  if (!ts.isUnionTypeNode(node)) return node;
  const [only, more] = node.types.filter((part) => part.kind !== ts.SyntaxKind.UndefinedKeyword && !(ts.isLiteralTypeNode(part) && part.literal.kind === ts.SyntaxKind.NullKeyword));
  return only && !more ? present(only) : node;
}

function aliasOf(checker: ts.TypeChecker, node: ts.Node): { symbol: ts.Symbol; type: ts.TypeNode } | undefined {
  if (!ts.isTypeReferenceNode(node)) return undefined;
  const named = checker.getSymbolAtLocation(node.typeName);
  const symbol = named && (named.flags & ts.SymbolFlags.Alias) !== 0 ? checker.getAliasedSymbol(named) : named;
  const declaration = symbol?.declarations?.find(ts.isTypeAliasDeclaration);
  return symbol && declaration ? { symbol, type: declaration.type } : undefined;
}

/** Members of an object written in place are members of their own, so the walk ends there. */
function collect(checker: ts.TypeChecker, node: ts.Node, into: Set<ts.Symbol>): void {
  if (ts.isTypeLiteralNode(node) && !node.members.some(ts.isIndexSignatureDeclaration)) return;
  const alias = aliasOf(checker, node);
  if (alias) into.add(alias.symbol);
  ts.forEachChild(node, (child) => collect(checker, child, into));
}
