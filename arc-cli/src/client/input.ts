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

/** One property an option can set. */
export interface InputFlag {
  /** `--place.city` */
  readonly flag: string;
  readonly path: readonly string[];
  readonly type: string;
  readonly required: boolean;
  readonly description: string;
}

/** How deep `--a.b.c` goes; what is deeper is written as JSON. */
const DEPTH_MAX = 6;
const FLAGS_MAX = 200;

/** Every option the schema gives, parents before children. */
export function inputFlags(schemaJson: string): InputFlag[] {
  const root = JSON.parse(schemaJson) as Schema;
  const found: InputFlag[] = [];
  const walk = (schema: Schema, path: readonly string[]): void => {
    const required = Array.isArray(schema["required"]) ? schema["required"] : [];
    for (const [key, value] of Object.entries(record(schema["properties"]))) {
      if (found.length >= FLAGS_MAX) return;
      const own = record(value);
      const target = resolved(own, root);
      const at = [...path, key];
      const description = [own["description"], target["description"]].find((text) => typeof text === "string") as string | undefined;
      found.push({ flag: flagOf(at), path: at, type: typeText(target, root), required: required.includes(key), description: (description ?? "").split("\n")[0] ?? "" });
      if (at.length < DEPTH_MAX && isPlainObject(target, root)) walk(target, at);
    }
  };
  walk(resolved(root, root), []);
  return found;
}

const flagOf = (path: readonly string[]): string => `--${path.map(optionName).join(".")}`;

function isPlainObject(schema: Schema, root: Schema): boolean {
  const kinds = types(schema, root);
  return kinds.size === 1 && kinds.has("object") && Object.keys(record(schema["properties"])).length > 0;
}

/** `text`, `number`, `fast|slow`, `text…` for a list, `JSON` for what has no plainer form. */
function typeText(schema: Schema, root: Schema): string {
  const values = schema["enum"];
  if (Array.isArray(values) && values.length <= 8 && values.every((value) => typeof value === "string")) return values.join("|");
  const kinds = types(schema, root);
  if (isList(schema, kinds)) return `${typeText(resolved(record(schema["items"]), root), root)}…`;
  const names: Readonly<Record<string, string>> = { string: "TEXT", number: "NUMBER", integer: "INTEGER", boolean: "", null: "null" };
  const plain = [...kinds].filter((kind) => kind !== "null");
  const name = plain.length === 1 ? names[plain[0] ?? ""] : undefined;
  return name ?? "JSON";
}

/** What was said so far: values of one property, or an object whose members were said one by one. */
type Said = { readonly values: string[]; readonly schema: Schema } | Map<string, Said>;

/** Words such as `--city Oslo --days=3 --no-wind --place.lat 59.9` → JSON text, by the tool's schema. */
export function inputFromFlags(words: readonly string[], schemaJson: string, tool: string): string {
  const root = JSON.parse(schemaJson) as Schema;
  const top = resolved(root, root);
  const members = new Map<string, Said>();
  for (let at = 0; at < words.length; at++) {
    const word = words[at] ?? "";
    const { path, schema, value: attached, negated } = property(word, top, root, tool, schemaJson);
    const kinds = types(schema, root);
    let json: string;
    if (kinds.has("boolean") && kinds.size === 1 && attached === undefined) json = String(!negated);
    else {
      if (negated) throw unknownFlag(word, tool, schemaJson);
      const text = attached ?? words[++at];
      if (text === undefined) throw new UserError("ARC2003", `${word} needs a value`);
      json = valueJson(text, schema, kinds, root, word);
    }
    say(members, path, json, schema, kinds);
  }
  return written(members, root);
}

function say(members: Map<string, Said>, path: readonly string[], json: string, schema: Schema, kinds: ReadonlySet<string>): void {
  const twice = (): UserError => new UserError("ARC2006", `${flagOf(path)} is given twice`, { hint: path.length > 1 ? "give the object whole, or its members one by one" : "see `arc invoke TOOL --help`" });
  const [key = "", ...rest] = path;
  const held = members.get(key);
  if (rest.length > 0) {
    if (held !== undefined && !(held instanceof Map)) throw twice();
    const inner = held ?? new Map<string, Said>();
    members.set(key, inner);
    return say(inner, rest, json, schema, kinds);
  }
  if (held === undefined) members.set(key, { values: [json], schema });
  else if (held instanceof Map || !isList(schema, kinds)) throw twice();
  else held.values.push(json);
}

function written(members: ReadonlyMap<string, Said>, root: Schema): string {
  const parts = [...members].map(([key, said]) => {
    if (said instanceof Map) return `${JSON.stringify(key)}:${written(said, root)}`;
    const { values, schema } = said;
    const whole = values.length === 1 && values[0]?.startsWith("[") === true;
    const json = isList(schema, types(schema, root)) && !whole ? `[${values.join(",")}]` : (values[0] ?? "null");
    return `${JSON.stringify(key)}:${json}`;
  });
  return `{${parts.join(",")}}`;
}

interface Named {
  readonly path: readonly string[];
  readonly schema: Schema;
  readonly value: string | undefined;
  readonly negated: boolean;
}

function property(word: string, top: Schema, root: Schema, tool: string, schemaJson: string): Named {
  if (!word.startsWith("--")) throw new UserError("ARC2005", `unexpected argument \`${escapeLine(word)}\``, { hint: flagsHint(tool, schemaJson) });
  const equals = word.indexOf("=");
  const name = (equals < 0 ? word : word.slice(0, equals)).slice(2);
  const value = equals < 0 ? undefined : word.slice(equals + 1);
  const found = lookUp(name, top, root);
  if (found !== undefined) return { ...found, value, negated: false };
  const positive = name.startsWith("no-") && value === undefined ? lookUp(name.slice(3), top, root) : undefined;
  if (positive !== undefined) return { ...positive, value, negated: true };
  throw unknownFlag(`--${name}`, tool, schemaJson);
}

/** `place.maxTemp`, `place.max-temp` → its path and schema. A property with a dot in its name wins over a path. */
function lookUp(name: string, schema: Schema, root: Schema): { path: string[]; schema: Schema } | undefined {
  const properties = record(schema["properties"]);
  const keys = Object.keys(properties);
  const keyOf = (text: string): string | undefined => keys.find((key) => key === text) ?? keys.find((key) => optionName(key) === text);
  const whole = keyOf(name);
  if (whole !== undefined) return { path: [whole], schema: resolved(record(properties[whole]), root) };
  for (let dot = name.indexOf("."); dot > 0; dot = name.indexOf(".", dot + 1)) {
    const key = keyOf(name.slice(0, dot));
    const inner = key === undefined ? undefined : lookUp(name.slice(dot + 1), resolved(record(properties[key]), root), root);
    if (key !== undefined && inner !== undefined) return { path: [key, ...inner.path], schema: inner.schema };
  }
  return undefined;
}

function flagsHint(tool: string, schemaJson: string): string {
  const known = inputFlags(schemaJson).map(({ flag }) => flag);
  return known.length === 0 ? `${tool} takes no input` : `flags of ${tool}: ${known.slice(0, 20).join(" ")}`;
}

function unknownFlag(name: string, tool: string, schemaJson: string): UserError {
  const known = inputFlags(schemaJson).map(({ flag }) => flag);
  return new UserError("ARC2001", `unknown option \`${escapeLine(name)}\``, { hint: didYouMean(name, known) ?? flagsHint(tool, schemaJson) });
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
