//! Shape to JSON Schema 2020-12. Objects are closed, recursion goes through `$defs`, docs become annotations.

import { children, type Docs, type Property, type Shape, type Shapes } from "./shape.ts";
import type { Json, JsonObject } from "../bundle/json.ts";

const DIALECT = "https://json-schema.org/draft/2020-12/schema";

/** The schema of a whole input or output. */
export function toSchema(shapes: Shapes): JsonObject {
  const writer = new Writer(shapes);
  const root = writer.inline(shapes.root);
  const defs = writer.defs();
  return { $schema: DIALECT, ...root, ...(Object.keys(defs).length > 0 ? { $defs: defs } : {}) };
}

class Writer {
  readonly #shapes: Shapes;
  /** Named shapes that stay references: those used more than once or inside themselves. */
  readonly #shared: ReadonlySet<string>;

  constructor(shapes: Shapes) {
    this.#shapes = shapes;
    this.#shared = sharedNames(shapes);
  }

  defs(): JsonObject {
    return Object.fromEntries([...this.#shared].sort().map((id) => [id, this.#body(this.#named(id))]));
  }

  /** The root is written in place even when something refers back to it. */
  inline(shape: Shape): JsonObject {
    return shape.kind === "ref" ? this.#body(this.#named(shape.id)) : this.#body(shape);
  }

  #named(id: string): Shape {
    return this.#shapes.named.get(id) ?? { kind: "json" };
  }

  #write(shape: Shape): JsonObject {
    if (shape.kind === "ref") return this.#shared.has(shape.id) ? { $ref: `#/$defs/${escapePointer(shape.id)}` } : this.#body(this.#named(shape.id));
    return this.#body(shape);
  }

  #body(shape: Shape): JsonObject {
    switch (shape.kind) {
      case "string":
        return documented(shape.pattern === undefined ? { type: "string" } : { type: "string", pattern: shape.pattern }, shape.docs);
      case "number":
        return documented({ type: numberType(shape) }, shape.docs);
      case "boolean":
      case "null":
        return { type: shape.kind };
      case "literal":
        return { type: typeof shape.value, const: shape.value };
      case "date":
        return { type: "string", format: "date-time" };
      case "bytes":
        return { type: "string", contentEncoding: "base64" };
      case "json":
        return {};
      case "jsonObject":
        return { type: "object" };
      case "array":
        return documented({ type: "array", items: this.#write(shape.items) }, shape.docs);
      case "tuple":
        return documented(this.#tuple(shape), shape.docs);
      case "object":
        return documented(this.#object(shape), shape.docs);
      case "union":
        return documented(this.#union(shape.members), shape.docs);
      case "ref":
        return this.#write(shape);
    }
  }

  #tuple(shape: Extract<Shape, { kind: "tuple" }>): JsonObject {
    return {
      type: "array",
      ...(shape.items.length > 0 ? { prefixItems: shape.items.map((item) => this.#write(item)) } : {}),
      items: shape.rest ? this.#write(shape.rest) : false,
      ...(shape.required > 0 ? { minItems: shape.required } : {}),
    };
  }

  #object(shape: Extract<Shape, { kind: "object" }>): JsonObject {
    const required = shape.properties.filter((property) => !property.optional).map((property) => property.name);
    const patterns = shape.index.filter((rule) => rule.pattern !== undefined);
    const open = shape.index.find((rule) => rule.pattern === undefined);
    return {
      type: "object",
      ...(shape.properties.length > 0 || shape.index.length === 0 ? { properties: fromEntries(shape.properties.map((property) => [property.name, this.#property(property)])) } : {}),
      ...(required.length > 0 ? { required } : {}),
      ...(patterns.length > 0 ? { patternProperties: fromEntries(patterns.map((rule) => [rule.pattern ?? "", this.#write(rule.shape)])) } : {}),
      additionalProperties: open ? this.#write(open.shape) : false,
    };
  }

  #property(property: Property): JsonObject {
    // 2020-12 applies keywords beside `$ref` as well, so nothing is lost there.
    return documented(this.#write(property.shape), property.docs);
  }

  /** Literals of one union become one `enum`; plain types without keywords become one `type` list. */
  #union(members: readonly Shape[]): JsonObject {
    const literals = members.flatMap((member) => (member.kind === "literal" ? [member.value] : []));
    const others = members.filter((member) => member.kind !== "literal");
    const nullable = others.some((member) => member.kind === "null");
    const rest = others.filter((member) => member.kind !== "null");
    if (literals.length > 0 && rest.length === 0) return enumOf(literals, nullable);
    const plain = others.map(plainType);
    if (literals.length === 0 && plain.every((type) => type !== undefined)) return { type: plain };
    const parts: Json[] = others.map((member) => this.#write(member));
    if (literals.length > 0) parts.unshift(enumOf(literals, false));
    return parts.length === 1 && isJsonObject(parts[0]) ? parts[0] : { anyOf: parts };
  }
}

function enumOf(literals: readonly (string | number | boolean)[], nullable: boolean): JsonObject {
  const types = [...new Set(literals.map((literal) => typeof literal as string)), ...(nullable ? ["null"] : [])];
  const values: Json[] = nullable ? [...literals, null] : [...literals];
  return { type: types.length === 1 ? (types[0] ?? "string") : types, enum: values };
}

/** The type of a shape about which nothing else is said. */
function plainType(shape: Shape): string | undefined {
  if (shape.kind === "null" || shape.kind === "boolean") return shape.kind;
  if (shape.kind === "number") return Object.keys(shape.docs ?? {}).every((key) => key === "integer") ? numberType(shape) : undefined;
  return shape.kind === "string" && shape.pattern === undefined && shape.docs === undefined ? "string" : undefined;
}

function numberType(shape: Extract<Shape, { kind: "number" }>): string {
  return shape.docs?.integer ? "integer" : "number";
}

function isJsonObject(json: Json | undefined): json is JsonObject {
  return typeof json === "object" && json !== null && !Array.isArray(json);
}

/** A schema with what doc comments add. A keyword that the type already has is demanded as well, not instead. */
function documented(body: JsonObject, docs: Docs | undefined): JsonObject {
  if (docs === undefined) return body;
  const keywords = Object.entries((docs.keywords ?? {}) as JsonObject);
  const doubled = keywords.filter(([name]) => name in body);
  return {
    ...body,
    ...Object.fromEntries(keywords.filter(([name]) => !(name in body))),
    ...(doubled.length > 0 ? { allOf: [Object.fromEntries(doubled)] } : {}),
    ...annotations(docs),
  };
}

function annotations(docs: Docs): JsonObject {
  return {
    ...(docs.title !== undefined ? { title: docs.title } : {}),
    ...(docs.description !== undefined ? { description: docs.description } : {}),
    ...(docs.deprecated ? { deprecated: true } : {}),
    ...(docs.default !== undefined ? { default: docs.default as Json } : {}),
    ...(docs.examples !== undefined ? { examples: docs.examples as readonly Json[] } : {}),
  };
}

/** Names that are used more than once or that contain themselves. The first use of the root counts as one. */
function sharedNames(shapes: Shapes): Set<string> {
  const uses = new Map<string, number>();
  const rootId = shapes.root.kind === "ref" ? shapes.root.id : undefined;
  const count = (shape: Shape): void => {
    if (shape.kind === "ref") {
      uses.set(shape.id, (uses.get(shape.id) ?? 0) + 1);
      return;
    }
    for (const child of children(shape)) count(child);
  };
  if (rootId === undefined) count(shapes.root);
  for (const shape of shapes.named.values()) count(shape);
  // A ring of names is entered from outside, which is a second use of its first name, or it is the root's.
  return new Set([...uses].filter(([id, times]) => times > 1 || id === rootId).map(([id]) => id));
}

/** Object.fromEntries that keeps a property called `__proto__` a property. */
function fromEntries(entries: readonly (readonly [string, JsonObject])[]): JsonObject {
  const out: Record<string, JsonObject> = {};
  for (const [key, value] of entries) Object.defineProperty(out, key, { value, enumerable: true, configurable: true, writable: true });
  return out;
}

function escapePointer(id: string): string {
  return encodeURIComponent(id.replaceAll("~", "~0").replaceAll("/", "~1"));
}
