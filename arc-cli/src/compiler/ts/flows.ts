//! What the checks of pipelines ask about types, over the type checker.

import ts from "typescript";

import type { Flows, TypeHandle } from "../oracle.ts";
import { sdkEntry } from "../assets.ts";
import { isSdk } from "./place.ts";

export function createFlows(program: ts.Program): Flows {
  const checker = program.getTypeChecker();
  const inside = ({ opaque }: TypeHandle): ts.Type => opaque as ts.Type;
  const handle = (type: ts.Type): TypeHandle => ({ opaque: type });

  /** Types whose JSON form is no object, although TypeScript sees members. */
  const isOpaque = (type: ts.Type): boolean => {
    const library = type.symbol?.declarations?.some((declaration) => program.isSourceFileDefaultLibrary(declaration.getSourceFile()) || declaration.getSourceFile().isDeclarationFile) ?? false;
    return library && (type.symbol.name === "Date" || type.symbol.name === "Uint8Array");
  };
  /** `JsonValue` and `JsonObject`: what is in them is known when they are there. */
  const isAnyJson = (type: ts.Type): boolean => {
    const alias = type.aliasSymbol;
    if (alias && (alias.name === "JsonValue" || alias.name === "JsonObject") && (alias.declarations ?? []).some((at) => isSdk(at.getSourceFile()))) return true;
    return (type.flags & (ts.TypeFlags.Any | ts.TypeFlags.Unknown)) !== 0;
  };
  const withoutNothing = (type: ts.Type): { type: ts.Type; maybe: boolean } => {
    // Any JSON without null has another name.
    if (isAnyJson(type)) return { type, maybe: false };
    const present = checker.getNonNullableType(type);
    return { type: present, maybe: present !== type };
  };

  return {
    member(of, name) {
      const { type } = withoutNothing(inside(of));
      if (isAnyJson(type)) return "unknown";
      if (isOpaque(type) || ((type.flags & ts.TypeFlags.Object) === 0 && !type.isUnionOrIntersection())) return undefined;
      if (checker.isArrayType(type) || checker.isTupleType(type)) {
        if (!/^(0|[1-9]\d{0,8})$/.test(name)) return undefined;
        const item = checker.isTupleType(type) ? checker.getTypeArguments(type as ts.TypeReference)[Number(name)] : checker.getIndexTypeOfType(type, ts.IndexKind.Number);
        return item && { type: handle(item), maybe: checker.isArrayType(type) };
      }
      const symbol = checker.getPropertyOfType(type, name);
      if (!symbol) {
        const index = checker.getIndexTypeOfType(type, ts.IndexKind.String);
        return index && { type: handle(index), maybe: true };
      }
      const found = withoutNothing(checker.getTypeOfSymbol(symbol));
      return { type: handle(found.type), maybe: (symbol.flags & ts.SymbolFlags.Optional) !== 0 || found.maybe };
    },
    members(of) {
      const { type } = withoutNothing(inside(of));
      if (isOpaque(type) || checker.isArrayType(type) || checker.isTupleType(type)) return [];
      return checker.getPropertiesOfType(type).map((symbol) => symbol.name);
    },
    object(of) {
      const type = inside(of);
      if (isAnyJson(type)) return "any";
      if ((type.flags & ts.TypeFlags.Object) === 0 && !type.isIntersection()) return undefined;
      if (isOpaque(type) || checker.isArrayType(type) || checker.isTupleType(type)) return undefined;
      const members = checker.getPropertiesOfType(type).map((symbol) => ({ name: symbol.name, type: handle(checker.getTypeOfSymbol(symbol)), optional: (symbol.flags & ts.SymbolFlags.Optional) !== 0 }));
      const index = checker.getIndexTypeOfType(type, ts.IndexKind.String);
      return { members, index: index && handle(index) };
    },
    item(of, at) {
      const type = inside(of);
      if (isAnyJson(type)) return of;
      if (checker.isTupleType(type)) {
        const item = checker.getTypeArguments(type as ts.TypeReference)[at];
        return item && handle(item);
      }
      const item = checker.isArrayType(type) ? checker.getIndexTypeOfType(type, ts.IndexKind.Number) : undefined;
      return item && handle(item);
    },
    alternatives(of) {
      const type = inside(of);
      return type.isUnion() && !isAnyJson(type) ? type.types.map(handle) : [of];
    },
    acceptsLiteral(of, value) {
      const type = inside(of);
      const own = value === null ? checker.getNullType() : typeof value === "string" ? checker.getStringLiteralType(value) : typeof value === "number" ? checker.getNumberLiteralType(value) : value ? checker.getTrueType() : checker.getFalseType();
      if (checker.isTypeAssignableTo(own, type)) return true;
      // In JSON a moment and bytes are texts.
      const opaque = (type.isUnion() ? type.types : [type]).find(isOpaque);
      if (typeof value !== "string" || !opaque) return false;
      return opaque.symbol.name === "Date" ? /^\d{4}-\d\d-\d\d[Tt]/.test(value) && !Number.isNaN(Date.parse(value)) : /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(value);
    },
    acceptsNothing: (of) => checker.isTypeAssignableTo(checker.getUndefinedType(), inside(of)),
    assignable: (from, to) => checker.isTypeAssignableTo(inside(from), inside(to)),
    comparable: (of, kind) => checker.isTypeAssignableTo(withoutNothing(inside(of)).type, kind === "number" ? checker.getNumberType() : checker.getStringType()),
    name: (of) => checker.typeToString(inside(of)),
    sdk(name) {
      const source = program.getSourceFile(sdkEntry);
      const module = source && checker.getSymbolAtLocation(source);
      const symbol = module && checker.getExportsOfModule(module).find((exported) => exported.name === name);
      const real = symbol && (symbol.flags & ts.SymbolFlags.Alias) !== 0 ? checker.getAliasedSymbol(symbol) : symbol;
      if (!real) throw new Error(`the SDK has no type ${name}`);
      return handle(checker.getDeclaredTypeOfSymbol(real));
    },
  };
}
