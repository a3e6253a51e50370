//! JSON Schema → TypeScript types, as they are in JSON: a Date is its text, bytes are base64. Pure.

type Schema = { readonly [key: string]: unknown };

const DEPTH_MAX = 32;

/** The type of one schema. Definitions it refers to get names of their own, `<prefix><Name>`, and stand in `declarations`. */
export function typeOf(schema: unknown, prefix: string): { readonly type: string; readonly declarations: string } {
  const writer = new Writer(record(schema), prefix);
  const type = writer.type(record(schema), 0);
  return { type, declarations: writer.declarations() };
}

class Writer {
  readonly #root: Schema;
  readonly #prefix: string;
  readonly #named = new Map<string, { readonly name: string; text: string }>();

  constructor(root: Schema, prefix: string) {
    this.#root = root;
    this.#prefix = prefix;
  }

  declarations(): string {
    return [...this.#named.values()].map(({ name, text }) => `export type ${name} = ${text};\n`).join("");
  }

  type(schema: Schema, depth: number): string {
    if (depth > DEPTH_MAX) return "JsonValue";
    const ref = schema["$ref"];
    if (typeof ref === "string") return this.#reference(ref);
    if ("const" in schema) return literal(schema["const"]);
    if (Array.isArray(schema["enum"])) return schema["enum"].map(literal).join(" | ");
    for (const key of ["anyOf", "oneOf"]) {
      const branches = schema[key];
      // A union that also says `type: object` repeats what each of its members says.
      if (Array.isArray(branches)) return unique(branches.map((branch) => this.type(record(branch), depth + 1))).join(" | ");
    }
    if (Array.isArray(schema["allOf"])) return schema["allOf"].map((part) => `(${this.type(record(part), depth + 1)})`).join(" & ");
    const types = Array.isArray(schema["type"]) ? schema["type"] : [schema["type"]];
    return unique(types.map((type) => this.#plain(type, schema, depth))).join(" | ");
  }

  #plain(type: unknown, schema: Schema, depth: number): string {
    switch (type) {
      case "string":
        return "string";
      case "number":
      case "integer":
        return "number";
      case "boolean":
        return "boolean";
      case "null":
        return "null";
      case "array":
        return this.#array(schema, depth);
      case "object":
        return this.#object(schema, depth);
      default:
        return "JsonValue";
    }
  }

  #array(schema: Schema, depth: number): string {
    const first = schema["prefixItems"];
    const rest = schema["items"];
    if (!Array.isArray(first)) return `(${rest === undefined ? "JsonValue" : this.type(record(rest), depth + 1)})[]`;
    const least = typeof schema["minItems"] === "number" ? schema["minItems"] : 0;
    const items = first.map((item, index) => `${this.#bracketed(record(item), depth)}${index < least ? "" : "?"}`);
    if (rest !== undefined && rest !== false) items.push(`...${this.#bracketed(record(rest), depth)}[]`);
    return `[${items.join(", ")}]`;
  }

  #bracketed(schema: Schema, depth: number): string {
    return `(${this.type(schema, depth + 1)})`;
  }

  #object(schema: Schema, depth: number): string {
    const required = Array.isArray(schema["required"]) ? schema["required"] : [];
    const members = Object.entries(record(schema["properties"])).map(([key, value]) => {
      const property = record(value);
      return `${comment(property)}${JSON.stringify(key)}${required.includes(key) ? "" : "?"}: ${this.type(property, depth + 1)};`;
    });
    const open = [...Object.values(record(schema["patternProperties"])), schema["additionalProperties"]].filter((value) => value !== undefined && value !== false);
    if (members.length === 0) return open.length === 0 ? (schema["additionalProperties"] === false ? "{ readonly [key: string]: never }" : "{ [key: string]: JsonValue }") : `{ [key: string]: ${this.#union(open, depth)} }`;
    const closed = `{ ${members.join(" ")} }`;
    // An index signature would have to fit the named members too.
    return open.length === 0 ? closed : `${closed} & { [key: string]: ${open.every((one) => one === true) ? "JsonValue" : "JsonValue"} | undefined }`;
  }

  #union(schemas: readonly unknown[], depth: number): string {
    return unique(schemas.map((one) => (one === true ? "JsonValue" : this.type(record(one), depth + 1)))).join(" | ");
  }

  #reference(ref: string): string {
    if (ref === "#") ref = "#/";
    const known = this.#named.get(ref);
    if (known !== undefined) return known.name;
    const last = ref.split("/").at(-1) ?? "";
    const wanted = `${this.#prefix}${pascal(last) || "Root"}`;
    const taken = new Set([...this.#named.values()].map(({ name }) => name));
    let name = wanted;
    for (let number = 2; taken.has(name); number++) name = `${wanted}${number}`;
    const entry = { name, text: "JsonValue" };
    // Before its own text, which may refer to it.
    this.#named.set(ref, entry);
    entry.text = this.type(this.#target(ref), 0);
    return name;
  }

  #target(ref: string): Schema {
    let at: unknown = this.#root;
    for (const part of ref.replace(/^#\/?/, "").split("/").filter((part) => part !== "")) at = record(at)[part.replaceAll("~1", "/").replaceAll("~0", "~")];
    return record(at);
  }
}

export function pascal(text: string): string {
  return text.replace(/[^A-Za-z0-9]+/g, " ").trim().split(" ").map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join("").replace(/^[0-9]/, "_$&");
}

/** A doc comment that no text can end early. */
export function comment(schema: Schema): string {
  const facts = [schema["description"], schema["format"] === "date-time" ? "RFC 3339" : undefined, schema["contentEncoding"] === "base64" ? "base64" : undefined].filter((fact) => typeof fact === "string" && fact !== "");
  return facts.length === 0 ? "" : `/** ${facts.join(" ").replace(/\s+/g, " ").replaceAll("*/", "*\\/")} */ `;
}

const literal = (value: unknown): string => (value !== null && typeof value === "object" ? "JsonValue" : JSON.stringify(value));
const unique = (types: readonly string[]): string[] => [...new Set(types)];

function record(value: unknown): Schema {
  return value !== null && typeof value === "object" && !Array.isArray(value) ? (value as Schema) : {};
}
