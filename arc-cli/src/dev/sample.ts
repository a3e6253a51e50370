//! An input for a tool nobody has called yet, from its schema: examples and defaults where there are some, else the plainest value. Pure.

type Schema = { readonly [key: string]: unknown };

const DEPTH_MAX = 8;

/** JSON text with the required properties of the input. It may still be refused: a schema can ask for what cannot be guessed. */
export function sampleInput(schema: unknown): string {
  return JSON.stringify(sample(asSchema(schema), asSchema(schema), 0) ?? {});
}

function sample(schema: Schema, root: Schema, depth: number): unknown {
  if (depth > DEPTH_MAX) return null;
  const ref = schema["$ref"];
  if (typeof ref === "string") return sample(target(root, ref), root, depth + 1);
  if (Array.isArray(schema["examples"]) && schema["examples"].length > 0) return schema["examples"][0];
  for (const key of ["default", "const"]) if (key in schema) return schema[key];
  if (Array.isArray(schema["enum"])) return schema["enum"][0];
  for (const key of ["anyOf", "oneOf"]) if (Array.isArray(schema[key])) return sample(asSchema(schema[key][0]), root, depth + 1);
  const type = Array.isArray(schema["type"]) ? schema["type"][0] : schema["type"];
  switch (type) {
    case "object":
      return object(schema, root, depth);
    case "array":
      return array(schema, root, depth);
    case "string":
      return text(schema);
    case "number":
    case "integer":
      return typeof schema["minimum"] === "number" ? schema["minimum"] : 1;
    case "boolean":
      return true;
    default:
      return null;
  }
}

function object(schema: Schema, root: Schema, depth: number): unknown {
  const properties = asSchema(schema["properties"]);
  const required = Array.isArray(schema["required"]) ? schema["required"].map(String) : [];
  return Object.fromEntries(required.map((key) => [key, sample(asSchema(properties[key]), root, depth + 1)]));
}

function array(schema: Schema, root: Schema, depth: number): unknown[] {
  if (Array.isArray(schema["prefixItems"])) return schema["prefixItems"].map((item) => sample(asSchema(item), root, depth + 1));
  const count = typeof schema["minItems"] === "number" ? Math.min(16, schema["minItems"]) : 0;
  return Array.from({ length: count }, () => sample(asSchema(schema["items"]), root, depth + 1));
}

function text(schema: Schema): string {
  if (schema["format"] === "date-time") return "2026-01-01T00:00:00Z";
  if (schema["contentEncoding"] === "base64") return "";
  const length = typeof schema["minLength"] === "number" ? Math.min(1024, schema["minLength"]) : 0;
  return "text".padEnd(length, "x");
}

function target(root: Schema, ref: string): Schema {
  let at: unknown = root;
  for (const part of ref.replace(/^#\//, "").split("/")) at = asSchema(at)[part.replaceAll("~1", "/").replaceAll("~0", "~")];
  return asSchema(at);
}

function asSchema(value: unknown): Schema {
  return value !== null && typeof value === "object" && !Array.isArray(value) ? (value as Schema) : {};
}
