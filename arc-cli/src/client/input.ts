//! The input of a tool from the command line: `--input`, or flags named after the properties of its schema.
//!
//! The result is JSON text, never a JavaScript value, so that large integers and key order survive.

import { readFile, stat } from "node:fs/promises";
import type { Stdin } from "../command.ts";
import { optionName } from "../command.ts";
import { escapeLine } from "../escape.ts";
import { Exit, UserError } from "../errors.ts";
import { didYouMean } from "../suggest.ts";

/** A little over what a device takes (1 MiB), so that its own limit is the one that answers. */
const INPUT_BYTES_MAX = 4 * 1024 * 1024;

/** `--input JSON`, `--input @FILE`, `--input -`. */
export async function readInput(text: string, stdin: Stdin): Promise<string> {
  const json = text === "-" ? await readStdin(stdin) : text.startsWith("@") ? await readInputFile(text.slice(1)) : text;
  try {
    JSON.parse(json);
  } catch (error) {
    throw new UserError("ARC2050", `the input is no JSON: ${(error as Error).message}`, { hint: `for example --input '{"city":"Oslo"}'` });
  }
  return json;
}

async function readInputFile(path: string): Promise<string> {
  try {
    const { size } = await stat(path);
    if (size > INPUT_BYTES_MAX) throw tooLarge();
    return utf8(await readFile(path));
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError("ARC2040", `read input ${path}: ${(error as Error).message}`, { exit: Exit.notFound, cause: error });
  }
}

async function readStdin(stdin: Stdin): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of stdin.chunks()) {
    size += chunk.byteLength;
    if (size > INPUT_BYTES_MAX) throw tooLarge();
    chunks.push(chunk);
  }
  return utf8(Buffer.concat(chunks));
}

function utf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    throw new UserError("ARC2050", "the input is no UTF-8 text", { cause: error, hint: "send bytes with --file" });
  }
}

function tooLarge(): UserError {
  return new UserError("ARC2051", "the input is larger than 4 MiB", { hint: "send large data with --file" });
}

type Schema = Readonly<Record<string, unknown>>;

/** Words such as `--city Oslo --days=3 --no-wind` → JSON text, by the tool's schema. */
export function inputFromFlags(words: readonly string[], schemaJson: string, tool: string): string {
  const root = JSON.parse(schemaJson) as Schema;
  const properties = record(resolved(root, root)["properties"]);
  const byFlag = new Map(Object.keys(properties).map((key) => [`--${optionName(key)}`, key]));
  for (const key of Object.keys(properties)) byFlag.set(`--${key}`, key);
  const members = new Map<string, string[]>();
  for (let at = 0; at < words.length; at++) {
    const word = words[at] ?? "";
    const { key, value: attached, negated } = property(word, byFlag, tool);
    const schema = resolved(record(properties[key]), root);
    const kinds = types(schema, root);
    let json: string;
    if (kinds.has("boolean") && kinds.size === 1 && attached === undefined) json = String(!negated);
    else {
      if (negated) throw unknownFlag(word, byFlag, tool);
      const text = attached ?? words[++at];
      if (text === undefined) throw new UserError("ARC2003", `${word} needs a value`);
      json = valueJson(text, schema, kinds, root, word);
    }
    const held = members.get(key) ?? [];
    if (held.length > 0 && !isList(schema, kinds)) throw new UserError("ARC2006", `--${optionName(key)} is given twice`);
    members.set(key, [...held, json]);
  }
  const written = [...members].map(([key, values]) => {
    const schema = resolved(record(properties[key]), root);
    const whole = values.length === 1 && values[0]?.startsWith("[") === true;
    const json = isList(schema, types(schema, root)) && !whole ? `[${values.join(",")}]` : (values[0] ?? "null");
    return `${JSON.stringify(key)}:${json}`;
  });
  return `{${written.join(",")}}`;
}

function property(word: string, byFlag: ReadonlyMap<string, string>, tool: string): { key: string; value: string | undefined; negated: boolean } {
  if (!word.startsWith("--")) throw new UserError("ARC2005", `unexpected argument \`${escapeLine(word)}\``, { hint: `flags of ${tool}: ${[...byFlag.keys()].join(" ")}` });
  const equals = word.indexOf("=");
  const name = equals < 0 ? word : word.slice(0, equals);
  const value = equals < 0 ? undefined : word.slice(equals + 1);
  const key = byFlag.get(name);
  if (key !== undefined) return { key, value, negated: false };
  const positive = name.startsWith("--no-") ? byFlag.get(`--${name.slice(5)}`) : undefined;
  if (positive !== undefined && value === undefined) return { key: positive, value, negated: true };
  throw unknownFlag(name, byFlag, tool);
}

function unknownFlag(name: string, byFlag: ReadonlyMap<string, string>, tool: string): UserError {
  const known = [...byFlag.keys()];
  const hint = didYouMean(name, known) ?? (known.length === 0 ? `${tool} takes no input` : `flags of ${tool}: ${known.join(" ")}`);
  return new UserError("ARC2001", `unknown option \`${escapeLine(name)}\``, { hint });
}

/** The text as the JSON the schema asks for; what the schema refuses is left to the device to say. */
function valueJson(text: string, schema: Schema, kinds: ReadonlySet<string>, root: Schema, flag: string): string {
  if (kinds.has("array") && !text.trimStart().startsWith("[")) {
    const items = resolved(record(schema["items"]), root);
    return valueJson(text, items, types(items, root), root, flag);
  }
  const literal = /^(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null)$/.test(text);
  if (kinds.has("string")) {
    const other = literal && ((text === "null" && kinds.has("null")) || (/^[tf]/.test(text) && kinds.has("boolean")) || (/^[-0-9]/.test(text) && (kinds.has("number") || kinds.has("integer"))));
    return other ? text : JSON.stringify(text);
  }
  const scalar = [...kinds].every((kind) => ["number", "integer", "boolean", "null"].includes(kind));
  if (kinds.size > 0 && scalar) {
    if (literal) return text;
    throw new UserError("ARC2007", `${flag} must be a ${[...kinds].join(" or ")}, not \`${escapeLine(text)}\``);
  }
  try {
    JSON.parse(text);
    return text;
  } catch {
    if (kinds.size === 0) return JSON.stringify(text);
    throw new UserError("ARC2007", `${flag} must be JSON, not \`${escapeLine(text)}\``);
  }
}

function isList(schema: Schema, kinds: ReadonlySet<string>): boolean {
  return kinds.has("array") && !("prefixItems" in schema);
}

/** Every JSON type the schema may accept; empty when it does not say. */
function types(schema: Schema, root: Schema, depth = 0): ReadonlySet<string> {
  const found = new Set<string>();
  if (depth > 8) return found;
  const own = schema["type"];
  for (const type of Array.isArray(own) ? own : [own]) if (typeof type === "string") found.add(type);
  const values = [...(Array.isArray(schema["enum"]) ? schema["enum"] : []), ...("const" in schema ? [schema["const"]] : [])];
  if (found.size === 0) for (const value of values) found.add(value === null ? "null" : typeof value);
  for (const key of ["anyOf", "oneOf"]) {
    const branches = schema[key];
    if (Array.isArray(branches)) for (const branch of branches) for (const type of types(resolved(record(branch), root), root, depth + 1)) found.add(type);
  }
  return found;
}

/** Follows local `$ref`s. */
function resolved(schema: Schema, root: Schema): Schema {
  let at = schema;
  for (let depth = 0; depth < 16; depth++) {
    const ref = at["$ref"];
    if (typeof ref !== "string" || !ref.startsWith("#/")) return at;
    let target: unknown = root;
    for (const part of ref.slice(2).split("/")) target = record(target)[part.replaceAll("~1", "/").replaceAll("~0", "~")];
    at = record(target);
  }
  return at;
}

function record(value: unknown): Schema {
  return value !== null && typeof value === "object" && !Array.isArray(value) ? (value as Schema) : {};
}
