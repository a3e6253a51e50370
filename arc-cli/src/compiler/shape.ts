//! What a type is once TypeScript is left behind: the small language between the type checker and JSON Schema.
//!
//! A `Shape` is plain data. Named and recursive types are references into `Shapes.named`, so any type of finite
//! source has a finite shape.

/** Facts from doc comments, already checked against the kind of value they stand on. */
export interface Docs {
  readonly title?: string;
  readonly description?: string;
  readonly deprecated?: true;
  readonly default?: JsonLiteral;
  readonly examples?: readonly JsonLiteral[];
  /** JSON Schema keywords: minimum, maxLength, pattern, format … */
  readonly keywords?: { readonly [keyword: string]: JsonLiteral };
  /** `@integer`: a number without a fraction. */
  readonly integer?: true;
}

export type JsonLiteral = null | boolean | number | string | readonly JsonLiteral[] | { readonly [key: string]: JsonLiteral };

export interface Property {
  readonly name: string;
  readonly shape: Shape;
  readonly optional: boolean;
  readonly docs: Docs;
}

/** What further keys an object takes: all, or those that match a pattern. */
export interface IndexRule {
  readonly pattern: string | undefined;
  readonly shape: Shape;
}

export type Shape =
  | { readonly kind: "string"; readonly pattern?: string; readonly docs?: Docs }
  | { readonly kind: "number"; readonly docs?: Docs }
  | { readonly kind: "boolean" }
  | { readonly kind: "null" }
  | { readonly kind: "literal"; readonly value: string | number | boolean }
  | { readonly kind: "date" }
  | { readonly kind: "bytes" }
  | { readonly kind: "json" }
  | { readonly kind: "jsonObject" }
  | { readonly kind: "array"; readonly items: Shape; readonly docs?: Docs }
  | { readonly kind: "tuple"; readonly items: readonly Shape[]; readonly required: number; readonly rest: Shape | undefined; readonly docs?: Docs }
  | { readonly kind: "object"; readonly properties: readonly Property[]; readonly index: readonly IndexRule[]; readonly docs: Docs }
  | { readonly kind: "union"; readonly members: readonly Shape[]; readonly docs: Docs }
  | { readonly kind: "ref"; readonly id: string };

/** A root shape with everything it refers to. */
export interface Shapes {
  readonly root: Shape;
  readonly named: ReadonlyMap<string, Shape>;
}

export const NO_DOCS: Docs = {};

/** Follows references to the shape itself. */
export function resolve(shapes: Shapes, shape: Shape): Shape {
  let at = shape;
  // A reference never leads to a reference chain longer than the table.
  for (let hops = 0; at.kind === "ref" && hops <= shapes.named.size; hops += 1) at = shapes.named.get(at.id) ?? { kind: "json" };
  return at;
}

/** The shapes directly inside one shape. */
export function children(shape: Shape): readonly Shape[] {
  switch (shape.kind) {
    case "array":
      return [shape.items];
    case "tuple":
      return shape.rest ? [...shape.items, shape.rest] : shape.items;
    case "object":
      return [...shape.properties.map((property) => property.shape), ...shape.index.map((rule) => rule.shape)];
    case "union":
      return shape.members;
    default:
      return [];
  }
}
