//! Between JSON and what a tool sees: Dates and bytes are restored on the way in, and everything is made plain and
//! checked on the way out. What has no JSON form is refused with the path to it; nothing is dropped in silence.

export type Codec =
  | null
  | { readonly date: 1 }
  | { readonly bytes: 1 }
  | { readonly array: Codec }
  | { readonly record: Codec }
  | TupleCodec
  | ObjectCodec
  | { readonly anyOf: readonly (readonly [Discriminator, Codec])[] };

interface TupleCodec {
  readonly tuple: readonly Codec[];
  /** For what follows the items. */
  readonly rest?: Codec;
}

interface ObjectCodec {
  readonly object: { readonly [key: string]: Codec };
  /** For keys that are not in `object`: the first whose pattern is found in the key, or that has none. */
  readonly index?: readonly (readonly [pattern: string | null, codec: Codec])[];
}

/** The part of JSON Schema that tells the members of a union apart. */
export interface Discriminator {
  readonly type?: string;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly properties?: { readonly [key: string]: Discriminator };
  readonly required?: readonly string[];
  readonly additionalProperties?: false;
}

/** A value that cannot be carried as JSON, or bytes that are not what the codec says. */
export class CodecError extends Error {
  override readonly name: string;
  constructor(message: string, name = "ResultNotJson") {
    super(message);
    this.name = name;
  }
}

const DEPTH_MAX = 128;
/** No answer over the frame limit can be sent, so the walk stops when the text alone is longer. */
const TEXT_MAX = 1024 * 1024;

/** Parsed JSON to what the tool's types say. The host has checked it against the schema; this still trusts nothing. */
export function decode(codec: Codec, value: unknown, path = "input"): unknown {
  if (codec === null || value === null || value === undefined) return value;
  if ("date" in codec) return decodeDate(value, path);
  if ("bytes" in codec) return decodeBytes(value, path);
  if ("array" in codec) return list(value, path).map((item, i) => decode(codec.array, item, `${path}[${i}]`));
  if ("tuple" in codec) return list(value, path).map((item, i) => decode(itemCodec(codec, i), item, `${path}[${i}]`));
  if ("record" in codec) return mapObject(value, path, () => codec.record);
  if ("object" in codec) return mapObject(value, path, (key) => memberCodec(codec, key));
  const chosen = codec.anyOf.find(([schema]) => matches(schema, value));
  return chosen ? decode(chosen[1], value, path) : value;
}

function mapObject(value: unknown, path: string, codecOf: (key: string) => Codec): object {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new CodecError(`${path} is not an object`, "InputInvalid");
  const out: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value)) define(out, key, decode(codecOf(key), item, join(path, key)));
  return out;
}

function list(value: unknown, path: string): unknown[] {
  if (!Array.isArray(value)) throw new CodecError(`${path} is not an array`, "InputInvalid");
  return value;
}

function decodeDate(value: unknown, path: string): Date {
  const date = new Date(typeof value === "string" ? value : Number.NaN);
  if (Number.isNaN(date.getTime())) throw new CodecError(`${path} is not a date-time`, "InputInvalid");
  return date;
}

function decodeBytes(value: unknown, path: string): Uint8Array {
  if (typeof value !== "string" || !/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(value)) {
    throw new CodecError(`${path} is not base64`, "InputInvalid");
  }
  return new Uint8Array(Buffer.from(value, "base64"));
}

/** A tool's answer to JSON text. `undefined` as the whole answer is `null`. */
export function encode(codec: Codec, value: unknown): string {
  const walk: Walk = { ancestors: [], text: 0 };
  return JSON.stringify(encodeAt(codec, value === undefined ? null : value, "result", walk));
}

interface Walk {
  readonly ancestors: object[];
  /** Lower bound of the length of the JSON so far. */
  text: number;
}

function encodeAt(codec: Codec, value: unknown, path: string, walk: Walk): unknown {
  if (codec !== null && "anyOf" in codec) return encodeAt(chooseFor(codec.anyOf, value), value, path, walk);
  switch (typeof value) {
    case "string":
      if (!value.isWellFormed()) throw new CodecError(`${path} holds a lone surrogate, it is not Unicode text`);
      count(walk, value.length, path);
      return value;
    case "number":
      if (!Number.isFinite(value)) throw new CodecError(`${path} is ${value}, JSON has no such number`);
      count(walk, 1, path);
      return value;
    case "boolean":
      count(walk, 4, path);
      return value;
    case "object":
      return value === null ? null : encodeObject(codec, value, path, walk);
    case "undefined":
      throw new CodecError(`${path} is undefined, JSON has no such value`);
    default:
      throw new CodecError(`${path} is a ${typeof value}, it has no JSON form`);
  }
}

function encodeObject(codec: Codec, value: object, path: string, walk: Walk): unknown {
  if (value instanceof Date) return encodeDate(codec, value, path, walk);
  if (value instanceof Uint8Array) return encodeBytes(codec, value, path, walk);
  if (walk.ancestors.includes(value)) throw new CodecError(`${path} contains itself`);
  if (walk.ancestors.length >= DEPTH_MAX) throw new CodecError(`${path} is nested deeper than ${DEPTH_MAX} levels`);
  refuseOpaque(value, path);
  walk.ancestors.push(value);
  try {
    return Array.isArray(value) ? encodeArray(codec, value, path, walk) : encodeMembers(codec, value, path, walk);
  } finally {
    walk.ancestors.pop();
  }
}

function encodeArray(codec: Codec, value: readonly unknown[], path: string, walk: Walk): unknown[] {
  count(walk, value.length, path);
  const item = (i: number): Codec => (codec === null ? null : "array" in codec ? codec.array : "tuple" in codec ? itemCodec(codec, i) : null);
  const out: unknown[] = [];
  // Not `map`: it would skip holes, and a hole is not JSON.
  for (let i = 0; i < value.length; i += 1) out.push(encodeAt(item(i), value[i], `${path}[${i}]`, walk));
  return out;
}

function encodeMembers(codec: Codec, value: object, path: string, walk: Walk): object {
  const out: Record<string, unknown> = {};
  for (const key of Object.keys(value)) {
    const member = (value as Record<string, unknown>)[key];
    if (member === undefined) continue;
    if (!key.isWellFormed()) throw new CodecError(`${path} has a key with a lone surrogate`);
    count(walk, key.length + 3, path);
    const inner = codec === null ? null : "record" in codec ? codec.record : "object" in codec ? memberCodec(codec, key) : null;
    define(out, key, encodeAt(inner, member, join(path, key), walk));
  }
  return out;
}

function encodeDate(codec: Codec, value: Date, path: string, walk: Walk): string {
  if (codec === null || !("date" in codec)) throw new CodecError(`${path} is a Date, the tool's type has none there`);
  if (Number.isNaN(value.getTime())) throw new CodecError(`${path} is an invalid Date`);
  const year = value.getUTCFullYear();
  if (year < 0 || year > 9999) throw new CodecError(`${path} is a Date outside the years 0 to 9999, RFC 3339 has no form for it`);
  count(walk, 24, path);
  return value.toISOString();
}

function encodeBytes(codec: Codec, value: Uint8Array, path: string, walk: Walk): string {
  if (codec === null || !("bytes" in codec)) throw new CodecError(`${path} is a Uint8Array, the tool's type has none there`);
  count(walk, Math.ceil(value.length / 3) * 4, path);
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("base64");
}

/** Objects whose content is not in their properties would become `{}`; that is a loss, so it is an error. */
function refuseOpaque(value: object, path: string): void {
  if (Array.isArray(value)) return;
  const tag = Object.prototype.toString.call(value).slice(8, -1);
  const opaque = ArrayBuffer.isView(value) || (tag !== "Object" && tag !== "Arguments") || value instanceof Error;
  if (!opaque) return;
  const name = (value as { constructor?: { name?: unknown } }).constructor?.name;
  throw new CodecError(`${path} is a ${typeof name === "string" && name !== "" ? name : tag}, it has no JSON form`);
}

function chooseFor(members: readonly (readonly [Discriminator, Codec])[], value: unknown): Codec {
  const kind = value instanceof Date ? "date" : value instanceof Uint8Array ? "bytes" : undefined;
  const found = members.find(([schema, codec]) => {
    const opaque = codec !== null && ("date" in codec || "bytes" in codec);
    if (kind !== undefined || opaque) return kind !== undefined && codec !== null && kind in codec;
    return matches(schema, value);
  });
  return found ? found[1] : null;
}

function matches(schema: Discriminator, value: unknown): boolean {
  if (schema.type !== undefined && schema.type !== typeOf(value)) return false;
  if ("const" in schema && schema.const !== value) return false;
  if (schema.enum && !schema.enum.includes(value)) return false;
  if (!schema.properties && !schema.required) return true;
  if (typeof value !== "object" || value === null) return false;
  const object = value as Record<string, unknown>;
  if (schema.required?.some((key) => !Object.hasOwn(object, key) || object[key] === undefined)) return false;
  const known = schema.properties ?? {};
  if (schema.additionalProperties === false && Object.keys(object).some((key) => object[key] !== undefined && !Object.hasOwn(known, key))) return false;
  return Object.entries(known).every(([key, inner]) => object[key] === undefined || matches(inner, object[key]));
}

/** Dates and bytes count as what they travel as. */
function typeOf(value: unknown): string {
  if (value instanceof Date || value instanceof Uint8Array) return "string";
  return value === null ? "null" : Array.isArray(value) ? "array" : typeof value;
}

function itemCodec({ tuple, rest }: TupleCodec, i: number): Codec {
  return (i < tuple.length ? tuple[i] : rest) ?? null;
}

function memberCodec({ object, index }: ObjectCodec, key: string): Codec {
  if (Object.hasOwn(object, key)) return object[key] ?? null;
  return index?.find(([pattern]) => pattern === null || compiled(pattern).test(key))?.[1] ?? null;
}

/** Patterns of this tool's codecs, as many as its types have. */
const patterns = new Map<string, RegExp>();

function compiled(pattern: string): RegExp {
  const known = patterns.get(pattern) ?? new RegExp(pattern, "u");
  patterns.set(pattern, known);
  return known;
}

/** Sets a key without the magic of `__proto__`. */
function define(object: Record<string, unknown>, key: string, value: unknown): void {
  if (key === "__proto__") Object.defineProperty(object, key, { value, enumerable: true, writable: true, configurable: true });
  else object[key] = value;
}

function count(walk: Walk, length: number, path: string): void {
  walk.text += length;
  if (walk.text > TEXT_MAX) throw new CodecError(`the answer is over ${TEXT_MAX} bytes (at ${path}); write large data to a file with out()`, "OutputTooLarge");
}

function join(path: string, key: string): string {
  return /^[A-Za-z_$][\w$]*$/.test(key) ? `${path}.${key}` : `${path}[${JSON.stringify(key)}]`;
}
