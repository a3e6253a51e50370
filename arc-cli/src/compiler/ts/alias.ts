//! The names that a type is written with. The checker forgets the name of a plain type (`type Age = number`), and with it
//! what the name's doc comment demands; the source still has it.

import ts from "typescript";

import { commentOf, type Comment } from "./comment.ts";
import { constraintsIn } from "./docs.ts";

/** Chains of names are short; a circle is an error of the language. */
const CHAIN_MAX = 16;

export interface Alias {
  readonly symbol: ts.Symbol;
  /** What it stands for. */
  readonly type: ts.TypeNode;
}

/** The name at a node, if it is the name of a type alias. */
export function aliasAt(checker: ts.TypeChecker, node: ts.Node): Alias | undefined {
  if (!ts.isTypeReferenceNode(node)) return undefined;
  const named = checker.getSymbolAtLocation(node.typeName);
  const symbol = named && (named.flags & ts.SymbolFlags.Alias) !== 0 ? checker.getAliasedSymbol(named) : named;
  const declaration = symbol?.declarations?.find(ts.isTypeAliasDeclaration);
  return symbol && declaration ? { symbol, type: declaration.type } : undefined;
}

/**
 * Whether the shape of a type carries its alias's doc comment by itself: objects and unions are read under their name.
 * Everywhere else the name has to be taken from the source.
 */
export function isCarried(checker: ts.TypeChecker, { symbol }: Alias, node: ts.TypeNode): boolean {
  const type = checker.getTypeFromTypeNode(node);
  return type.aliasSymbol === symbol && !checker.isTupleType(type) && !checker.isArrayType(type);
}

export interface Chain {
  /** Names that stand for the whole value, the outermost first. */
  readonly aliases: readonly Alias[];
  /** What the last of them stands for. */
  readonly node: ts.TypeNode;
}

/** Follows names to the first type that is none, or whose shape carries its comment. */
export function chainOf(checker: ts.TypeChecker, from: ts.TypeNode): Chain {
  const aliases: Alias[] = [];
  let node = plain(from);
  for (let alias = aliasAt(checker, node); alias && aliases.length < CHAIN_MAX; alias = aliasAt(checker, node)) {
    if (isCarried(checker, alias, node) || (node as ts.TypeReferenceNode).typeArguments) break;
    aliases.push(alias);
    node = plain(alias.type);
  }
  return { aliases, node };
}

/** A type without parentheses, `readonly`, and the wrappers of the language that change nothing about its parts. */
function plain(node: ts.TypeNode): ts.TypeNode {
  if (ts.isParenthesizedTypeNode(node)) return plain(node.type);
  if (ts.isTypeOperatorNode(node) && node.operator === ts.SyntaxKind.ReadonlyKeyword) return plain(node.type);
  const wrapped = ts.isTypeReferenceNode(node) && ts.isIdentifier(node.typeName) && WRAPPERS.has(node.typeName.text) ? node.typeArguments?.[0] : undefined;
  return wrapped ? plain(wrapped) : node;
}

const WRAPPERS = new Set(["Promise", "Awaited", "NonNullable", "NoInfer", "Readonly", "Partial", "Required"]);

/** The members of a union where a value is there; any other type is its only member. */
export function membersOf(node: ts.TypeNode): readonly ts.TypeNode[] {
  const at = plain(node);
  if (!ts.isUnionTypeNode(at)) return [at];
  return at.types.filter((part) => part.kind !== ts.SyntaxKind.UndefinedKeyword && !(ts.isLiteralTypeNode(part) && part.literal.kind === ts.SyntaxKind.NullKeyword)).flatMap(membersOf);
}

/** A constraint of a name, found somewhere in a written type. */
export interface Mention {
  readonly tag: string;
  readonly alias: string;
  readonly node: ts.TypeNode;
}

/** Constraints in a type that the shapes of its parts do not carry. Members of an object written in place are read by themselves. */
export function mentions(checker: ts.TypeChecker, node: ts.Node, seen: ReadonlySet<ts.Symbol> = new Set()): Mention[] {
  if (ts.isTypeLiteralNode(node)) return [];
  const inner: Mention[] = [];
  ts.forEachChild(node, (child) => void inner.push(...mentions(checker, child, seen)));
  const alias = aliasAt(checker, node);
  if (!alias || seen.has(alias.symbol) || isCarried(checker, alias, node as ts.TypeNode)) return inner;
  const own = constraintsIn(commentOf(checker, alias.symbol)).map(({ name }) => ({ tag: name, alias: alias.symbol.name, node: node as ts.TypeNode }));
  const below = mentions(checker, alias.type, new Set([...seen, alias.symbol])).map((mention) => ({ ...mention, node: node as ts.TypeNode }));
  return [...own, ...below, ...inner];
}

/** The comments of names, the innermost first. */
export function commentsOf(checker: ts.TypeChecker, aliases: readonly Alias[]): Comment[] {
  return aliases.toReversed().map(({ symbol }) => commentOf(checker, symbol));
}
