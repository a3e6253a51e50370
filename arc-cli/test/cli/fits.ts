//! Whether what a command wrote with `--json` is what its published schema says. Stricter than the schema: a member it does not
//! name is a mistake here.

import Ajv2020 from "ajv/dist/2020";
import addFormats from "ajv-formats";
import { type JsonSchema, outputs, schemaOf } from "../../schemas/definitions.ts";

const ajv = new Ajv2020({ allErrors: true, strict: true, allowUnionTypes: true });
addFormats(ajv);
const validators = new Map<string, ReturnType<typeof ajv.compile>>();

/** Why these documents do not fit, or nothing. `words` are those of the command line. */
export function fits(words: readonly string[], documents: readonly unknown[]): string | undefined {
  const name = nameOf(words);
  if (name === undefined) return undefined;
  const validate = validators.get(name) ?? ajv.compile(closed(schemaOf(name, outputs[name] ?? {})) as JsonSchema);
  validators.set(name, validate);
  for (const document of documents) if (!validate(document)) return `arc ${name}: ${ajv.errorsText(validate.errors)}\n${JSON.stringify(document).slice(0, 2000)}`;
  return undefined;
}

/** The command that ran, or nothing when there was none. */
function nameOf(words: readonly string[]): string | undefined {
  const plain = words.filter((word) => !word.startsWith("-"));
  return [plain.slice(0, 2).join(" "), plain[0] ?? ""].find((name) => Object.hasOwn(outputs, name));
}

function closed(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(closed);
  if (schema === null || typeof schema !== "object") return schema;
  const inner = Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, key === "enum" || key === "required" ? value : closed(value)]));
  return "properties" in inner && "type" in inner ? { ...inner, additionalProperties: false } : inner;
}
