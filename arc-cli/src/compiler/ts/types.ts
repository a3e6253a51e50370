//! From a TypeScript type to a `Shape`. Every type either has a rule here or is a finding; nothing becomes "anything".
//!
//! Object and named union types are converted once and referred to by name, so recursion ends. What never ends,
//! a generic that wraps itself anew at each level, is stopped by a depth and a size.

import ts from "typescript";

import type { DiagnosticId } from "../diagnostics.ts";
import { NO_DOCS, type IndexRule, type Property, type Shape, type Shapes } from "../shape.ts";
import { docsOf, proseOf } from "./docs.ts";
import { isOwn, isSdk, type Reporter } from "./place.ts";
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
  readonly #named = new Map<string, Shape>();
  readonly #ids = new Map<ts.Type, string>();
  /** Names that something refers to. */
  readonly #referred = new Set<string>();
  /** What is being read, for findings about it as a whole. */
  #whole: { readonly name: string; readonly node: ts.Node } | undefined;
  #depth = 0;
  #parts = 0;

  constructor(program: ts.Program, checker: ts.TypeChecker, reporter: Reporter) {
    this.#program = program;
    this.#checker = checker;
    this.#reporter = reporter;
  }

  /** `types` are alternatives of one value (a result that may be a Promise or not). `node` is where the type is written. */
  read(types: readonly ts.Type[], node: ts.Node): Shapes {
    this.#whole = { name: types.map((type) => this.#name(type)).join(" | "), node };
    try {
      // The whole answer may be `undefined`, it travels as null; nowhere else has it a place in JSON.
      const shapes = types.flatMap((type) => {
        const { kept, stripped } = withoutUndefined(this.#checker, type);
        return [...kept.map((member) => this.#shape(member, node)), ...(stripped ? [{ kind: "null" } as const] : [])];
      });
      return { root: union(shapes), named: this.#named };
    } catch (error) {
      if (!(error instanceof Endless)) throw error;
      return { root: FAILED, named: new Map() };
    }
  }

  #shape(type: ts.Type, node: ts.Node): Shape {
    this.#parts += 1;
    if (this.#depth >= DEPTH_MAX || this.#parts > PARTS_MAX) {
      const { name, node: at } = this.#whole ?? { name: this.#name(type), node };
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
    if ((flags & F.Any) !== 0) return this.#refuse("ARC1010", type, node, "`any` has no schema", "write the type, or JsonValue from @aria/sdk where any JSON is meant");
    if ((flags & F.Unknown) !== 0) return this.#refuse("ARC1011", type, node, "`unknown` has no schema", "write the type, or JsonValue from @aria/sdk where any JSON is meant");
    if ((flags & F.Never) !== 0) return this.#refuse("ARC1017", type, node, "`never` has no value");
    if ((flags & F.BigIntLike) !== 0) return this.#refuse("ARC1014", type, node, "a bigint has no JSON form", "use number or string");
    if ((flags & F.ESSymbolLike) !== 0) return this.#refuse("ARC1013", type, node, "a symbol has no JSON form", "use a string");
    if ((flags & F.Boolean) !== 0) return { kind: "boolean" };
    if ((flags & F.StringLiteral) !== 0) return { kind: "literal", value: (type as ts.StringLiteralType).value };
    if ((flags & F.NumberLiteral) !== 0) return { kind: "literal", value: (type as ts.NumberLiteralType).value };
    if ((flags & F.BooleanLiteral) !== 0) return { kind: "literal", value: this.#checker.typeToString(type) === "true" };
    if ((flags & (F.Void | F.Undefined | F.Null)) !== 0) return { kind: "null" };
    if ((flags & F.TemplateLiteral) !== 0) return { kind: "string", ...templatePattern(type as ts.TemplateLiteralType) };
    if ((flags & F.StringLike) !== 0 && (flags & F.Union) === 0) return { kind: "string" };
    if ((flags & F.NumberLike) !== 0 && (flags & F.Union) === 0) return { kind: "number" };
    if ((flags & F.NonPrimitive) !== 0) return this.#refuse("ARC1019", type, node, "`object` says nothing about its members", "name the members, or use JsonObject from @aria/sdk");
    return undefined;
  }

  #composite(type: ts.Type, node: ts.Node): Shape {
    const F = ts.TypeFlags;
    if ((type.flags & (F.TypeParameter | F.IndexedAccess | F.Conditional | F.Index | F.Substitution)) !== 0) return this.#open(type, node);
    if (type.isUnion()) return type.aliasSymbol ? this.#once(type, () => this.#union(type, node)) : this.#union(type, node);
    if (type.isIntersection()) {
      // A brand (`string & { readonly __brand: … }`) is the plain value to everybody but the type checker.
      const primitive = type.types.find((member) => (member.flags & (F.StringLike | F.NumberLike | F.BooleanLike)) !== 0);
      if (primitive) return this.#shape(primitive, node);
      const opaque = type.types.find((member) => this.#isLibraryType(member, "Date") || this.#isLibraryType(member, "Uint8Array"));
      if (opaque) return this.#shape(opaque, node);
      return this.#once(type, () => this.#object(type, node));
    }
    if ((type.flags & F.Object) === 0) return this.#refuse("ARC1021", type, node, `arc has no rule for the type ${this.#name(type)}`);
    return this.#objectLike(type, node);
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
    if (type.getCallSignatures().length > 0 || type.getConstructSignatures().length > 0) return this.#refuse("ARC1012", type, node, "a function has no JSON form", "pass data instead");
    const foreign = this.#foreignName(type);
    if (foreign === "Object" || foreign === "{}") return this.#refuse("ARC1019", type, node, "`Object` says nothing about its members", "name the members, or use JsonObject from @aria/sdk");
    if (foreign !== undefined) return this.#refuse("ARC1015", type, node, `${foreign} has no JSON form`, hintFor(foreign));
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
      return this.#refuse("ARC1021", type, node, "`undefined` has no JSON form here", "use null, or make the member optional");
    }
    const merged = union(inSourceOrder(this.#checker, type, node).map((member) => this.#shape(member, node)));
    return merged.kind === "union" && type.aliasSymbol ? { ...merged, docs: this.#prose(type.aliasSymbol) } : merged;
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
      if (rest !== undefined) return this.#refuse("ARC1021", type, node, "a tuple with members after its rest has no schema", "put the rest last");
      const shape = (flag & ts.ElementFlags.Optional) !== 0 ? this.#present(element, node) : this.#shape(element, node);
      if (variable) rest = shape;
      else items.push(shape);
    }
    return { kind: "tuple", items, required: minLength, rest };
  }

  #object(type: ts.Type, node: ts.Node): Shape {
    const hidden = this.#hiddenMember(type);
    if (hidden !== undefined) return this.#refuse("ARC1016", type, node, `${this.#name(type)} is a class with ${hidden}; JSON makes plain objects`, "use an interface with the data alone");
    const properties = this.#checker.getPropertiesOfType(type).map((property) => this.#property(property, node));
    const symbol = type.aliasSymbol ?? type.symbol;
    const docs = symbol ? this.#prose(symbol) : NO_DOCS;
    return { kind: "object", properties: properties.filter((property) => property !== undefined), index: this.#indexRules(type, node), docs };
  }

  #property(symbol: ts.Symbol, node: ts.Node): Property | undefined {
    const name = ts.unescapeLeadingUnderscores(symbol.escapedName);
    const at = this.#declarationOf(symbol) ?? node;
    if (String(symbol.escapedName).startsWith("__@")) {
      this.#reporter.report("ARC1013", at, "a member with a symbol as its name has no JSON form", "use a string as the name");
      return undefined;
    }
    const declared = this.#checker.getTypeOfSymbol(symbol);
    const { kept, stripped } = withoutUndefined(this.#checker, declared);
    // `b?: never` and `b?: undefined` say that the member is not there: a closed object says the same.
    if (kept.every((type) => (type.flags & ts.TypeFlags.Never) !== 0) && (stripped || (symbol.flags & ts.SymbolFlags.Optional) !== 0)) return undefined;
    const optional = stripped || (symbol.flags & ts.SymbolFlags.Optional) !== 0;
    const shape = union(kept.map((type) => this.#shape(type, at)));
    const docs = docsOf(this.#checker, symbol, this.#plain(shape), (id, message, hint) => this.#reporter.report(id, at, message, hint), this.#named);
    return { name, shape, optional, docs };
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
        this.#reporter.report("ARC1019", at, "keys that are symbols have no JSON form");
        return [];
      }
      // `Record<string, never>`: no further key can be there, which is what a closed object says.
      if (withoutUndefined(this.#checker, info.type).kept.every((kept) => (kept.flags & ts.TypeFlags.Never) !== 0)) return [];
      const shape = this.#present(info.type, at);
      if ((info.keyType.flags & ts.TypeFlags.TemplateLiteral) !== 0) return [{ pattern: templatePattern(info.keyType as ts.TemplateLiteralType).pattern ?? "", shape }];
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

  #prose(symbol: ts.Symbol): ReturnType<typeof proseOf> {
    return proseOf(this.#checker, symbol);
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

  /** The innermost written type inside `node` that is the type at fault; a member's own name when none is written. */
  #locate(type: ts.Type, node: ts.Node): ts.Node {
    let found: ts.Node | undefined;
    const visit = (child: ts.Node): void => {
      if (ts.isBlock(child)) return;
      if (ts.isTypeNode(child) && this.#checker.getTypeFromTypeNode(child) === type) found = child;
      ts.forEachChild(child, visit);
    };
    visit(node);
    if (found) return found;
    const { type: written, name } = node as { type?: ts.Node; name?: ts.Node };
    return (ts.isMethodSignature(node) || ts.isMethodDeclaration(node) ? name : (written ?? name)) ?? node;
  }
}

/** Flattens, drops doubles, joins `true | false`; one member is no union. */
export function union(shapes: readonly Shape[]): Shape {
  const flat = shapes.flatMap((shape) => (shape.kind === "union" && Object.keys(shape.docs).length === 0 ? shape.members : [shape]));
  const isBoolean = (shape: Shape, value: boolean): boolean => shape.kind === "literal" && shape.value === value;
  const both = flat.some((shape) => isBoolean(shape, true)) && flat.some((shape) => isBoolean(shape, false));
  const joined: Shape[] = both ? [...flat.filter((shape) => !isBoolean(shape, true) && !isBoolean(shape, false)), { kind: "boolean" }] : flat;
  const members = [...new Map(joined.map((shape) => [JSON.stringify(shape), shape])).values()];
  const [only] = members;
  return members.length === 1 && only ? only : { kind: "union", members, docs: NO_DOCS };
}

/** The parts of a type without `undefined`, as few as possible so that names survive. */
function withoutUndefined(checker: ts.TypeChecker, type: ts.Type): { kept: readonly ts.Type[]; stripped: boolean } {
  const isUndefined = (member: ts.Type): boolean => (member.flags & (ts.TypeFlags.Undefined | ts.TypeFlags.Void)) !== 0;
  if (isUndefined(type)) return { kept: [], stripped: true };
  if (!type.isUnion() || !type.types.some(isUndefined)) return { kept: [type], stripped: false };
  // `T | undefined` remembers `T` as it was named; the field is not public but pinned with the compiler's version.
  const { origin } = type as ts.UnionType & { readonly origin?: ts.Type };
  if (origin?.isUnion()) return { kept: origin.types.filter((member) => !isUndefined(member)), stripped: true };
  const kept = type.types.filter((member) => !isUndefined(member));
  if (kept.some((member) => (member.flags & ts.TypeFlags.Null) !== 0)) return { kept, stripped: true };
  return { kept: [checker.getNonNullableType(type)], stripped: true };
}

/**
 * The members of a union in the order they are written. The checker's own order follows the history of its types,
 * so an unrelated file could reorder an enum and with it the interface digest.
 */
function inSourceOrder(checker: ts.TypeChecker, type: ts.UnionType, node: ts.Node): readonly ts.Type[] {
  const written: ts.Type[] = [];
  const visit = (child: ts.Node): void => {
    if (written.length > 0 || ts.isBlock(child)) return;
    if (ts.isUnionTypeNode(child) && checker.getTypeFromTypeNode(child) === type) {
      written.push(...child.types.map((part) => checker.getTypeFromTypeNode(part)).flatMap((part) => (part.isUnion() ? part.types : [part])));
      return;
    }
    ts.forEachChild(child, visit);
  };
  for (const place of [...(type.aliasSymbol?.declarations ?? []), node]) visit(place);
  const rank = (member: ts.Type): number => {
    const at = written.indexOf(member);
    return at === -1 ? written.length : at;
  };
  return [...type.types].sort((a, b) => rank(a) - rank(b));
}

function hintFor(name: string): string {
  if (name === "Map" || name === "ReadonlyMap") return "use Record<string, T> or an array of pairs";
  if (name === "Set" || name === "ReadonlySet") return "use an array";
  if (name === "Promise" || name === "PromiseLike") return "await it inside the tool";
  if (/Buffer|Array$|DataView|Blob|File/.test(name)) return "use Uint8Array; large data travels as a file";
  if (name === "URL" || name === "RegExp") return "use a string";
  return "use plain data: an interface of strings, numbers, arrays";
}
