//! Whether a JSON literal is a value of a shape.

import type { JsonLiteral, Shape } from "../shape.ts";

/** The shapes that references lead to, as far as they are read. */
export type Named = ReadonlyMap<string, Shape>;

/** Whether a literal is a value of the shape. A name that is still being read has any. */
export function fits(value: JsonLiteral, shape: Shape, named: Named): boolean {
  switch (shape.kind) {
    case "json":
      return true;
    case "ref":
      return fits(value, named.get(shape.id) ?? { kind: "json" }, named);
    case "literal":
      return shape.value === value;
    case "union":
      return shape.members.some((member) => fits(value, member, named));
    case "null":
      return value === null;
    case "number":
    case "boolean":
      return typeof value === shape.kind;
    case "string":
      return typeof value === "string" && (shape.pattern === undefined || new RegExp(shape.pattern, "u").test(value));
    case "date":
      return typeof value === "string" && /^\d{4}-\d\d-\d\d[Tt]/.test(value) && !Number.isNaN(Date.parse(value));
    case "bytes":
      return typeof value === "string" && /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(value);
    case "array":
      return Array.isArray(value) && value.every((item) => fits(item as JsonLiteral, shape.items, named));
    case "tuple":
      return Array.isArray(value) && fitsTuple(value as readonly JsonLiteral[], shape, named);
    case "object":
      return isRecord(value) && fitsObject(value, shape, named);
    case "jsonObject":
      return isRecord(value);
  }
}

function fitsTuple(value: readonly JsonLiteral[], { items, required, rest }: Extract<Shape, { kind: "tuple" }>, named: Named): boolean {
  if (value.length < required) return false;
  return value.every((item, i) => {
    const shape = items[i] ?? rest;
    return shape !== undefined && fits(item, shape, named);
  });
}

function fitsObject(value: { readonly [key: string]: JsonLiteral }, { properties, index }: Extract<Shape, { kind: "object" }>, named: Named): boolean {
  if (properties.some(({ name, optional }) => !optional && !Object.hasOwn(value, name))) return false;
  return Object.entries(value).every(([key, item]) => {
    const property = properties.find(({ name }) => name === key);
    if (property) return fits(item, property.shape, named);
    const rule = index.find(({ pattern }) => pattern !== undefined && new RegExp(pattern, "u").test(key)) ?? index.find(({ pattern }) => pattern === undefined);
    return rule !== undefined && fits(item, rule.shape, named);
  });
}

function isRecord(value: JsonLiteral): value is { readonly [key: string]: JsonLiteral } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** What kinds of values a shape has, in the words of doc tags. A name that is still being read has any. */
export function kindsOf(shape: Shape, named: Named): ReadonlySet<string> {
  switch (shape.kind) {
    case "union":
      return new Set(shape.members.flatMap((member) => [...kindsOf(member, named)]));
    case "literal":
      return new Set([typeof shape.value]);
    case "tuple":
      return new Set(["array"]);
    case "jsonObject":
      return new Set(["object"]);
    case "ref":
      return kindsOf(named.get(shape.id) ?? { kind: "json" }, named);
    case "json":
      return new Set(["number", "string", "array", "object"]);
    default:
      return new Set([shape.kind]);
  }
}
