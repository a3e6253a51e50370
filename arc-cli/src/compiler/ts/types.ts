//! From a TypeScript type to a `Shape`. Every type either has a rule here or is a finding; nothing becomes "anything".
//!
//! Object and named union types are converted once and referred to by name, so recursion ends. What never ends,
//! a generic that wraps itself anew at each level, is stopped by a depth and a size.

import ts from "typescript";

import type { DiagnosticId } from "../diagnostics.ts";
import { NO_DOCS, type Docs, type IndexRule, type Property, type Shape, type Shapes } from "../shape.ts";
import { integral, union } from "../union.ts";
import { aliasAt, chainOf, commentsOf, membersOf } from "./alias.ts";
import { commentOf, type Comment } from "./comment.ts";
import { docsOf, isAboutValues } from "./docs.ts";
import { classHint, foreignHint, functionHint, heirHint, JSON_OBJECT, JSON_VALUE, listHint, tupleHint } from "./hints.ts";
import { inSourceOrder, withoutUndefined } from "./members.ts";
import { isOwn, isSdk, type Reporter } from "./place.ts";
import { Refiner } from "./refine.ts";
import { templatePattern } from "./template.ts";

const DEPTH_MAX = 64;
const PARTS_MAX = 10_000;

/** Thrown when a type has no end; the finding is already reported. */
class Endless extends Error {}

const FAILED: Shape = { kind: "json" };

/** Reads the types of one input or output. */
export class TypeReader {
  readonly #checker: ts.TypeChecker;
  readonly #reporter: Reporter;
  readonly #program: ts.Program;
  readonly #refiner: Refiner;
  readonly #named = new Map<string, Shape>();
  readonly #ids = new Map<ts.Type, string>();
  /** Names that something refers to. */
  readonly #referred = new Set<string>();
  /** What is being read, for findings about it as a whole. */
  #read: { readonly name: string; readonly node: ts.Node } | undefined;
  /** The members that are being read, the innermost last: where a type may be written that is filled in from outside. */
  readonly #places: ts.Node[] = [];
  #depth = 0;
  #parts = 0;

  constructor(program: ts.Program, checker: ts.TypeChecker, reporter: Reporter) {
    this.#program = program;
    this.#checker = checker;
    this.#reporter = reporter;
    this.#refiner = new Refiner(checker, reporter, this.#named);
  }

  /**
   * `types` are alternatives of one value (a result that may be a Promise or not). `node` is where the type is written, or
   * as near to it as there is; `written` is the type itself as it is written, if it is.
   */
  read(types: readonly ts.Type[], node: ts.Node, written?: ts.TypeNode): Shapes {
    this.#read = { name: types.map((type) => this.#name(type)).join(" | "), node };
    try {
      // The whole answer may be `undefined`, it travels as null; nowhere else has it a place in JSON.
      const shapes = types.flatMap((type) => {
        const { kept, stripped } = withoutUndefined(this.#checker, type);
        return [...kept.map((member) => this.#shape(member, node)), ...(stripped ? [{ kind: "null" } as const] : [])];
      });
      const root = union(shapes);
      return { root: written ? this.#refiner.value(root, written) : root, named: this.#named };
    } catch (error) {
      if (!(error instanceof Endless)) throw error;
      return { root: FAILED, named: new Map() };
    }
  }

  #shape(type: ts.Type, node: ts.Node): Shape {
    this.#parts += 1;
    if (this.#depth >= DEPTH_MAX || this.#parts > PARTS_MAX) {
      const { name, node: at } = this.#read ?? { name: this.#name(type), node };
      this.#reporter.report("ARC1018", (at as { type?: ts.Node }).type ?? at, `type ${name} has no end that arc could find`, "give the recursive part one name that does not change with each level");
      throw new Endless();
    }
    this.#depth += 1;
    try {
      return this.#primitive(type, node) ?? this.#composite(type, node);
    } finally {
      this.#depth -= 1;
    }
  }

  #primitive(type: ts.Type, node: ts.Node): Shape | undefined {
    const { flags } = type;
    const F = ts.TypeFlags;
    if (this.#isSdkType(type, "JsonValue")) return { kind: "json" };
    if (this.#isSdkType(type, "JsonObject")) return { kind: "jsonObject" };
    if ((flags & F.Any) !== 0) return this.#refuse("ARC1010", type, node, "`any` has no schema", JSON_VALUE);
    if ((flags & F.Unknown) !== 0) return this.#refuse("ARC1011", type, node, "`unknown` has no schema", JSON_VALUE);
    if ((flags & F.Never) !== 0) return this.#refuse("ARC1017", type, node, "`never` has no value", "take the member out, or write a type that has a value");
    if ((flags & F.BigIntLike) !== 0) return this.#refuse("ARC1014", type, node, "a bigint has no JSON form", "write `number`, or `string` for what is beyond 2^53");
    if ((flags & F.ESSymbolLike) !== 0) return this.#refuse("ARC1013", type, node, "a symbol has no JSON form", "write `string`");
    if ((flags & F.Boolean) !== 0) return { kind: "boolean" };
    if ((flags & (F.StringLiteral | F.NumberLiteral)) !== 0) return this.#literal(type as ts.LiteralType, node);
    if ((flags & F.BooleanLiteral) !== 0) return { kind: "literal", value: this.#checker.typeToString(type) === "true" };
    if ((flags & (F.Void | F.Undefined | F.Null)) !== 0) return { kind: "null" };
    if ((flags & (F.TemplateLiteral | F.StringMapping)) !== 0) return this.#template(type, node);
    if ((flags & F.StringLike) !== 0) return { kind: "string" };
    if ((flags & F.NumberLike) !== 0) return { kind: "number" };
    if ((flags & F.NonPrimitive) !== 0) return this.#refuse("ARC1019", type, node, "`object` says nothing about its members", JSON_OBJECT);
    return undefined;
  }

  #literal(type: ts.LiteralType, node: ts.Node): Shape {
    const { value } = type;
    if (typeof value === "string" && value.isWellFormed()) return { kind: "literal", value };
    if (typeof value === "number" && Number.isFinite(value)) return { kind: "literal", value };
    return this.#refuse("ARC1024", type, node, `JSON has no value ${this.#name(type)}`, "write a value that JSON has, or `null`");
  }

  #template(type: ts.Type, node: ts.Node): Shape {
    const pattern = templatePattern(type);
    return pattern === undefined ? this.#patternless(type, node) : { kind: "string", pattern };
  }

  #patternless(type: ts.Type, node: ts.Node): Shape {
    return this.#refuse("ARC1023", type, node, `the texts of ${this.#name(type)} have no pattern`, "write `string`, with the rule as @pattern in the member's doc comment");
  }

  #composite(type: ts.Type, node: ts.Node): Shape {
    const F = ts.TypeFlags;
    if ((type.flags & (F.TypeParameter | F.IndexedAccess | F.Conditional | F.Index | F.Substitution)) !== 0) return this.#open(type, node);
    if (type.isUnion()) return type.aliasSymbol ? this.#once(type, () => this.#union(type, node)) : this.#union(type, node);
    if (type.isIntersection()) {
      // A brand (`string & { readonly __brand: … }`) is the plain value to everybody but the type checker.
      const [primitive, second] = type.types.filter((member) => (member.flags & (F.StringLike | F.NumberLike | F.BooleanLike)) !== 0);
      if (second) return this.#patternless(type, node);
      if (primitive) return this.#shape(primitive, node);
      const opaque = type.types.find((member) => this.#isLibraryType(member, "Date") || this.#isLibraryType(member, "Uint8Array"));
      if (opaque) return this.#shape(opaque, node);
      return this.#branded(type, node) ?? this.#once(type, () => this.#object(type, node));
    }
    if ((type.flags & F.Object) === 0) return this.#refuse("ARC1021", type, node, `arc has no rule for the type ${this.#name(type)}`);
    return this.#objectLike(type, node);
  }

  /** Without parts that only the type checker knows: objects of nothing but unique symbols. Nothing when there are none. */
  #branded(type: ts.IntersectionType, node: ts.Node): Shape | undefined {
    const isBrand = (member: ts.Type): boolean => {
      const properties = this.#checker.getPropertiesOfType(member);
      return properties.length > 0 && properties.every(({ escapedName }) => String(escapedName).startsWith("__@"));
    };
    const data = type.types.filter((member) => !isBrand(member));
    const [only, more] = data;
    const isList = (member: ts.Type): boolean => this.#checker.isArrayType(member) || this.#checker.isTupleType(member);
    if (only && !more) return this.#shape(only, node);
    if (data.some(isList)) return this.#refuse("ARC1021", type, node, "a list with members of its own has no JSON form", listHint(this.#checker, type));
    return data.length < type.types.length ? this.#once(type, () => this.#object(type, node, false)) : undefined;
  }

  #open(type: ts.Type, node: ts.Node): Shape {
    return this.#refuse("ARC1022", type, node, `${this.#name(type)} depends on a type parameter that nobody fills`, "write the concrete type");
  }

  #objectLike(type: ts.Type, node: ts.Node): Shape {
    const checker = this.#checker;
    if (this.#isLibraryType(type, "Date")) return { kind: "date" };
    if (this.#isLibraryType(type, "Uint8Array")) return { kind: "bytes" };
    if (checker.isTupleType(type)) {
      const read = (): Shape => this.#tuple(type as ts.TupleTypeReference, node);
      return type.aliasSymbol ? this.#once(type, read) : read();
    }
    if (checker.isArrayType(type)) {
      const [item] = checker.getTypeArguments(type as ts.TypeReference);
      // `never[]`: no value can be in it.
      if (item && (item.flags & ts.TypeFlags.Never) !== 0) return { kind: "tuple", items: [], required: 0, rest: undefined };
      return item ? { kind: "array", items: this.#shape(item, node) } : this.#refuse("ARC1021", type, node, "an array without an item type");
    }
    if (type.getCallSignatures().length > 0 || type.getConstructSignatures().length > 0) return this.#refuse("ARC1012", type, node, "a function has no JSON form", functionHint(checker, type, node));
    const foreign = this.#foreignName(type);
    if (foreign === "Function") return this.#refuse("ARC1012", type, node, "a function has no JSON form", functionHint(checker, type, node));
    if (foreign === "Object" || foreign === "{}") return this.#refuse("ARC1019", type, node, `\`${foreign}\` says nothing about its members`, JSON_OBJECT);
    if (foreign !== undefined) return this.#refuse("ARC1015", type, node, `${foreign} has no JSON form`, foreignHint(checker, foreign, type));
    const base = this.#foreignBase(type);
    if (base !== undefined) return this.#refuse("ARC1015", type, node, `${this.#name(type)} extends ${base.symbol.name}, which has no JSON form`, heirHint(checker, type, base));
    return this.#once(type, () => this.#object(type, node));
  }

  /** Converts a type once; later uses, also from inside, are references. */
  #once(type: ts.Type, convert: () => Shape): Shape {
    const known = this.#ids.get(type);
    if (known !== undefined) {
      this.#referred.add(known);
      return { kind: "ref", id: known };
    }
    const id = this.#freshName(type);
    this.#ids.set(type, id);
    this.#named.set(id, FAILED);
    const shape = convert();
    // A tuple is written in place, unless it holds itself.
    const recursive = shape.kind === "tuple" && this.#referred.has(id);
    if (shape.kind !== "object" && shape.kind !== "union" && !recursive) {
      this.#ids.delete(type);
      this.#named.delete(id);
      return shape;
    }
    this.#named.set(id, shape);
    return { kind: "ref", id };
  }

  #freshName(type: ts.Type): string {
    const symbol = type.aliasSymbol ?? type.symbol;
    const base = symbol && !symbol.name.startsWith("__") ? symbol.name.replace(/[^A-Za-z0-9_]/g, "_") : "Type";
    for (let n = 1; ; n += 1) {
      const id = n === 1 ? base : `${base}${n}`;
      if (!this.#named.has(id)) return id;
    }
  }

  #union(type: ts.UnionType, node: ts.Node): Shape {
    if (type.types.some((member) => (member.flags & ts.TypeFlags.Undefined) !== 0)) {
      return this.#refuse("ARC1021", type, node, "`undefined` has no JSON form here", `write \`${this.#checker.typeToString(this.#checker.getNonNullableType(type))} | null\``);
    }
    const merged = union(inSourceOrder(this.#checker, type, node).map((member) => this.#shape(member, node)));
    const { aliasSymbol } = type;
    if (merged.kind !== "union" || !aliasSymbol) return merged;
    const written = aliasSymbol.declarations?.find(ts.isTypeAliasDeclaration)?.type;
    const refined = written ? this.#refiner.parts(merged, written) : merged;
    return refined.kind === "union" ? { ...refined, docs: this.#docs(aliasSymbol, refined, node) } : refined;
  }

  #tuple(type: ts.TupleTypeReference, node: ts.Node): Shape {
    const { elementFlags, minLength } = type.target;
    const elements = this.#checker.getTypeArguments(type);
    const items: Shape[] = [];
    let rest: Shape | undefined;
    for (const [i, flag] of elementFlags.entries()) {
      const element = elements[i];
      if (!element) continue;
      const variable = (flag & ts.ElementFlags.Variable) !== 0;
      if (rest !== undefined) return this.#refuse("ARC1021", type, node, "a tuple with members after its rest has no schema", tupleHint(this.#checker, type));
      const shape = (flag & ts.ElementFlags.Optional) !== 0 ? this.#present(element, node) : this.#shape(element, node);
      if (variable) rest = shape;
      else items.push(shape);
    }
    return { kind: "tuple", items, required: minLength, rest };
  }

  #object(type: ts.Type, node: ts.Node, symbols = true): Shape {
    const hidden = this.#hiddenMember(type);
    if (hidden !== undefined) return this.#refuse("ARC1016", type, node, `${this.#name(type)} is a class with ${hidden}; JSON makes plain objects`, classHint(this.#checker, type));
    const properties = this.#checker.getPropertiesOfType(type).filter(({ escapedName }) => symbols || !String(escapedName).startsWith("__@"));
    const read = properties.map((property) => this.#property(property, node)).filter((property) => property !== undefined);
    const shape: Shape = { kind: "object", properties: read, index: this.#indexRules(type, node), docs: NO_DOCS };
    const symbol = type.aliasSymbol ?? type.symbol;
    return symbol ? { ...shape, docs: this.#docs(symbol, shape, node) } : shape;
  }

  /** What the doc comment of a named type says about its values. */
  #docs(symbol: ts.Symbol, shape: Shape, node: ts.Node): Docs {
    const declaration = this.#declarationOf(symbol);
    const at = (declaration && ts.getNameOfDeclaration(declaration as ts.Declaration)) ?? declaration ?? node;
    return docsOf([commentOf(this.#checker, symbol)], shape, (id, message, hint) => this.#reporter.report(id, at, message, hint), this.#named);
  }

  #property(symbol: ts.Symbol, node: ts.Node): Property | undefined {
    const name = ts.unescapeLeadingUnderscores(symbol.escapedName);
    const at = this.#declarationOf(symbol) ?? node;
    if (String(symbol.escapedName).startsWith("__@")) {
      this.#reporter.report("ARC1013", at, "a member with a symbol as its name has no JSON form", "write its name as a string");
      return undefined;
    }
    if (!name.isWellFormed()) {
      this.#reporter.report("ARC1024", at, "the name of this member is half a character, JSON has no such text", "write a name of whole characters");
      return undefined;
    }
    const declared = this.#checker.getTypeOfSymbol(symbol);
    const { kept, stripped } = withoutUndefined(this.#checker, declared);
    // `b?: never` and `b?: undefined` say that the member is not there: a closed object says the same.
    if (kept.every((type) => (type.flags & ts.TypeFlags.Never) !== 0) && (stripped || (symbol.flags & ts.SymbolFlags.Optional) !== 0)) return undefined;
    const optional = stripped || (symbol.flags & ts.SymbolFlags.Optional) !== 0;
    this.#places.push(at);
    const shape = union(kept.map((type) => this.#shape(type, at)));
    this.#places.pop();
    return { name, optional, ...this.#documented(symbol, declared, shape, at) };
  }

  /** The shape of a member with what its names say of its parts, and what they and its own comment say of the whole. */
  #documented(symbol: ts.Symbol, type: ts.Type, shape: Shape, at: ts.Node): { shape: Shape; docs: Docs } {
    const own = commentOf(this.#checker, symbol);
    const declaration = symbol.valueDeclaration ?? symbol.declarations?.[0];
    const written = (declaration as { readonly type?: ts.TypeNode } | undefined)?.type;
    if (this.#isReplaced(symbol, type, written)) return { shape, docs: this.#docsOf([withoutRules(own)], shape, at) };
    if (!written) return this.#whole([own], shape, at);
    const [only, more] = membersOf(written);
    const { aliases, node } = only && !more ? chainOf(this.#checker, only) : { aliases: [], node: written };
    return this.#whole([...commentsOf(this.#checker, aliases), own], this.#refiner.parts(shape, node), at);
  }

  #whole(comments: readonly Comment[], shape: Shape, at: ts.Node): { shape: Shape; docs: Docs } {
    const docs = this.#docsOf(comments, shape, at);
    return { shape: docs.integer ? integral(this.#plain(shape)) : shape, docs };
  }

  #docsOf(comments: readonly Comment[], shape: Shape, at: ts.Node): Docs {
    return docsOf(comments, this.#plain(shape), (id, message, hint) => this.#reporter.report(id, at, message, hint), this.#named);
  }

  /** Whether a mapped type gave the member another type than it is declared with: rules about the old one do not hold. */
  #isReplaced(symbol: ts.Symbol, type: ts.Type, written: ts.TypeNode | undefined): boolean {
    // Not public, but pinned with the compiler's version.
    const { links } = symbol as { readonly links?: { readonly mappedType?: ts.Type } };
    if (!links?.mappedType || !written) return false;
    return this.#checker.getNonNullableType(type) !== this.#checker.getNonNullableType(this.#checker.getTypeFromTypeNode(written));
  }

  /** The shape of a value where it is present. */
  #present(type: ts.Type, node: ts.Node): Shape {
    return union(withoutUndefined(this.#checker, type).kept.map((member) => this.#shape(member, node)));
  }

  /** A name that stands for a small union, looked through so that doc tags can be checked against it. */
  #plain(shape: Shape): Shape {
    if (shape.kind !== "ref") return shape;
    const target = this.#named.get(shape.id);
    return target?.kind === "union" ? target : shape;
  }

  #indexRules(type: ts.Type, node: ts.Node): IndexRule[] {
    return this.#checker.getIndexInfosOfType(type).flatMap((info): IndexRule[] => {
      const at = info.declaration && isOwn(this.#reporter.root, info.declaration.getSourceFile()) ? info.declaration : node;
      if ((info.keyType.flags & ts.TypeFlags.ESSymbolLike) !== 0) {
        this.#reporter.report("ARC1019", at, "keys that are symbols have no JSON form", "use `string` as the key");
        return [];
      }
      // `Record<string, never>`: no further key can be there, which is what a closed object says.
      if (withoutUndefined(this.#checker, info.type).kept.every((kept) => (kept.flags & ts.TypeFlags.Never) !== 0)) return [];
      const read = this.#present(info.type, at);
      const shape = info.declaration ? this.#refiner.value(read, info.declaration.type) : read;
      if ((info.keyType.flags & (ts.TypeFlags.TemplateLiteral | ts.TypeFlags.StringMapping)) !== 0) {
        const keys = this.#template(info.keyType, at);
        return keys.kind === "string" ? [{ pattern: keys.pattern, shape }] : [];
      }
      if ((info.keyType.flags & ts.TypeFlags.Number) !== 0) return [{ pattern: "^-?(0|[1-9][0-9]*)(\\.[0-9]+)?$", shape }];
      return [{ pattern: undefined, shape }];
    });
  }

  #hiddenMember(type: ts.Type): string | undefined {
    if (!type.symbol || (type.symbol.flags & ts.SymbolFlags.Class) === 0) return undefined;
    for (const property of this.#checker.getPropertiesOfType(type)) {
      const name = ts.unescapeLeadingUnderscores(property.escapedName);
      if ((property.flags & ts.SymbolFlags.Method) !== 0) return `a method (${name})`;
      if ((property.flags & ts.SymbolFlags.Accessor) !== 0) return `an accessor (${name})`;
      const flags = property.valueDeclaration ? ts.getCombinedModifierFlags(property.valueDeclaration) : 0;
      if ((flags & (ts.ModifierFlags.Private | ts.ModifierFlags.Protected)) !== 0 || String(property.escapedName).startsWith("__#")) return "hidden members";
    }
    return undefined;
  }

  /** The name of a type that comes with the language or the runtime and is not plain data. */
  #foreignName(type: ts.Type): string | undefined {
    const { symbol } = type;
    const declarations = symbol?.declarations ?? [];
    if (declarations.length === 0 || !declarations.every((declaration) => this.#isLibrary(declaration.getSourceFile()))) return undefined;
    // Mapped and anonymous types of the library (Pick, Record, Partial …) are shapes, not things.
    if ((symbol.flags & (ts.SymbolFlags.TypeLiteral | ts.SymbolFlags.ObjectLiteral)) !== 0) return undefined;
    return symbol.name;
  }

  /** A type of the language that this interface or class extends. */
  #foreignBase(type: ts.Type): ts.Type | undefined {
    const basesOf = (of: ts.Type): readonly ts.Type[] => {
      const { target = of } = of as ts.TypeReference;
      return target.isClassOrInterface() ? this.#checker.getBaseTypes(target) : [];
    };
    let bases: readonly ts.Type[] = basesOf(type);
    // Types that extend themselves are an error of the language.
    for (let steps = 0; bases.length > 0 && steps < DEPTH_MAX; steps += 1) {
      const foreign = bases.find((base) => this.#foreignName(base) !== undefined);
      if (foreign) return foreign;
      bases = bases.flatMap(basesOf);
    }
    return undefined;
  }

  #isLibraryType(type: ts.Type, name: string): boolean {
    return type.symbol?.name === name && (type.symbol.declarations ?? []).some((declaration) => this.#program.isSourceFileDefaultLibrary(declaration.getSourceFile()));
  }

  #isLibrary(source: ts.SourceFile): boolean {
    return this.#program.isSourceFileDefaultLibrary(source) || /\/node_modules\/(bun-types|@types\/(node|bun)|undici-types)\//.test(source.fileName);
  }

  #isSdkType(type: ts.Type, name: string): boolean {
    const alias = type.aliasSymbol;
    return alias?.name === name && (alias.declarations ?? []).some((declaration) => isSdk(declaration.getSourceFile()));
  }

  /** Where a member is written, if the author of the project wrote it. */
  #declarationOf(symbol: ts.Symbol): ts.Node | undefined {
    const declaration = symbol.valueDeclaration ?? symbol.declarations?.[0];
    return declaration && isOwn(this.#reporter.root, declaration.getSourceFile()) ? declaration : undefined;
  }

  #name(type: ts.Type): string {
    const text = this.#checker.typeToString(type);
    return text.length > 60 ? `${text.slice(0, 57)}…` : text;
  }

  #refuse(id: DiagnosticId, type: ts.Type, node: ts.Node, message: string, hint?: string): Shape {
    this.#report(id, type, node, message, hint);
    return FAILED;
  }

  #report(id: DiagnosticId, type: ts.Type, node: ts.Node, message: string, hint?: string): void {
    this.#reporter.report(id, this.#locate(type, node), message, hint);
  }

  /**
   * The innermost written type that is the type at fault: at the member itself, or at one around it that filled it in. A
   * member's own name when none is written.
   */
  #locate(type: ts.Type, node: ts.Node): ts.Node {
    const around = this.#read ? [this.#read.node] : [];
    for (const place of [node, ...this.#places.toReversed(), ...around]) {
      const found = this.#writtenIn(place, type);
      if (found) return found;
    }
    const { type: written, name } = node as { type?: ts.Node; name?: ts.Node };
    if (ts.isMethodSignature(node)) return node;
    return (ts.isMethodDeclaration(node) ? name : (written ?? name)) ?? node;
  }

  /** Where a type is written inside a node, or inside what the names in it stand for. */
  #writtenIn(node: ts.Node, type: ts.Type): ts.Node | undefined {
    let found: ts.Node | undefined;
    const seen = new Set<ts.Node>();
    const visit = (child: ts.Node): void => {
      if (ts.isBlock(child) || seen.has(child)) return;
      seen.add(child);
      if (ts.isTypeNode(child) && this.#checker.getTypeFromTypeNode(child) === type) found = child;
      ts.forEachChild(child, visit);
      const alias = found ? undefined : aliasAt(this.#checker, child);
      if (alias && isOwn(this.#reporter.root, alias.type.getSourceFile())) visit(alias.type);
    };
    visit(node);
    return found;
  }
}

/** A comment without its tags about values. */
function withoutRules({ text, tags }: Comment): Comment {
  return { text, tags: tags.filter(({ name }) => !isAboutValues(name)) };
}
