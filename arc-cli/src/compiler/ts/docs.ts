//! Doc comments to schema annotations. A tag that would be ignored or could not be read is a finding, not a shrug.

import ts from "typescript";

import type { DiagnosticId } from "../diagnostics.ts";
import { aliasesOf } from "./alias.ts";
import { broken, contradiction } from "./constraints.ts";
import type { Docs, JsonLiteral, Shape } from "../shape.ts";

type Kind = "number" | "string" | "array" | "object";

interface TagRule {
  readonly on: Kind;
  readonly value: "number" | "count" | "pattern" | "format" | "flag";
}

const TAGS: Readonly<Record<string, TagRule>> = {
  minimum: { on: "number", value: "number" },
  maximum: { on: "number", value: "number" },
  exclusiveMinimum: { on: "number", value: "number" },
  exclusiveMaximum: { on: "number", value: "number" },
  multipleOf: { on: "number", value: "number" },
  integer: { on: "number", value: "flag" },
  minLength: { on: "string", value: "count" },
  maxLength: { on: "string", value: "count" },
  pattern: { on: "string", value: "pattern" },
  format: { on: "string", value: "format" },
  minItems: { on: "array", value: "count" },
  maxItems: { on: "array", value: "count" },
  uniqueItems: { on: "array", value: "flag" },
  minProperties: { on: "object", value: "count" },
  maxProperties: { on: "object", value: "count" },
};

/** The formats of JSON Schema 2020-12. */
const FORMATS = new Set([
  ...["date-time", "date", "time", "duration", "email", "idn-email", "hostname", "idn-hostname", "ipv4", "ipv6"],
  ...["uri", "uri-reference", "iri", "iri-reference", "uuid", "uri-template", "json-pointer", "relative-json-pointer", "regex"],
]);

/** The shapes that references lead to, as far as they are read. */
export type Named = ReadonlyMap<string, Shape>;

export type Report = (id: DiagnosticId, message: string, hint?: string) => void;

interface Comment {
  readonly text: string;
  readonly tags: readonly { readonly name: string; readonly text: string }[];
}

/** The doc comment of a symbol, cleaned. */
function commentOf(checker: ts.TypeChecker, symbol: ts.Symbol): Comment {
  const text = clean(ts.displayPartsToString(symbol.getDocumentationComment(checker)));
  const tags = symbol.getJsDocTags(checker).map((tag) => ({ name: tag.name, text: clean(ts.displayPartsToString(tag.text)) }));
  if (text !== "" || tags.length > 0) return { text, tags };
  return symbol.declarations?.map(besideOf).find((comment) => comment !== undefined) ?? { text, tags };
}

/**
 * A doc comment on the line of the brace or semicolon before it, as in `{ /** City *\/ city: string }`. TypeScript counts
 * it as trailing what stands before and attaches it to nothing; people mean the member that follows.
 */
function besideOf(declaration: ts.Node): Comment | undefined {
  const source = declaration.getSourceFile().text;
  const range = ts.getTrailingCommentRanges(source, declaration.pos)?.at(-1);
  const comment = range && source.slice(range.pos, range.end);
  if (!comment?.startsWith("/**")) return undefined;
  const parsed = ts.createSourceFile("comment.ts", `${comment}\nlet it;`, ts.ScriptTarget.ESNext, true).statements[0];
  if (!parsed) return undefined;
  const tags = ts.getJSDocTags(parsed).map((tag) => ({ name: tag.tagName.text, text: clean(tagText(tag)) }));
  const [doc] = ts.getJSDocCommentsAndTags(parsed).filter((node) => ts.isJSDoc(node));
  return { text: clean(ts.getTextOfJSDocComment(doc?.comment) ?? ""), tags };
}

function tagText(tag: ts.JSDocTag): string {
  return ts.getTextOfJSDocComment(tag.comment) ?? "";
}

/** The prose of a symbol's doc comment, without the tags that say something about values. */
export function proseOf(checker: ts.TypeChecker, symbol: ts.Symbol | undefined): Docs {
  return symbol ? prose(commentOf(checker, symbol)) : {};
}

function prose(comment: Comment): Docs {
  const title = comment.tags.find((tag) => tag.name === "title")?.text ?? "";
  return {
    ...(title === "" ? {} : { title }),
    ...(comment.text === "" ? {} : { description: comment.text }),
    ...(comment.tags.some((tag) => tag.name === "deprecated") ? { deprecated: true } : {}),
  };
}

/** What `@returns` says. */
export function returnsOf(checker: ts.TypeChecker, symbol: ts.Symbol | undefined): string {
  const tags = symbol ? commentOf(checker, symbol).tags : [];
  return tags.find(({ name }) => name === "returns" || name === "return")?.text ?? "";
}

/** Everything a property's doc comment says; `shape` decides which tags may stand on it. */
export function docsOf(checker: ts.TypeChecker, symbol: ts.Symbol, shape: Shape, report: Report, named: Named): Docs {
  const keywords: Record<string, JsonLiteral> = {};
  const examples: JsonLiteral[] = [];
  let fallback: JsonLiteral | undefined;
  let integer = false;
  const comment = commentOf(checker, symbol);
  const aliases = aliasesOf(checker, symbol);
  for (const alias of aliases.parts) {
    for (const { name } of constraintsOf(checker, alias)) report("ARC1071", `@${name} of ${alias.name} holds for a member of that type, here it is only a part`, "write the part as an object with a member");
  }
  // The innermost name first, so that what stands nearer to the value wins.
  const inherited = aliases.whole.toReversed().flatMap((alias) => constraintsOf(checker, alias));
  for (const tag of [...inherited, ...comment.tags]) {
    const { text } = tag;
    const rule = Object.hasOwn(TAGS, tag.name) ? TAGS[tag.name] : undefined;
    if (rule) {
      const value = readTag(tag.name, rule, text, shape, report);
      if (tag.name === "integer") integer ||= value === true;
      else if (value !== undefined) keywords[tag.name] = value;
    } else if (tag.name === "default" || tag.name === "defaultValue") {
      fallback = readValue(text, shape, named);
      if (fallback === undefined) report("ARC1070", `@${tag.name} ${text} is not a JSON value of this type`, "write the value as JSON, or describe the default in the text");
    } else if (tag.name === "example") {
      const value = readValue(text, shape, named);
      if (value !== undefined) examples.push(value);
    }
  }
  const wrong = contradiction(keywords);
  if (wrong !== undefined) report("ARC1070", wrong);
  const rule = fallback === undefined ? undefined : broken(fallback, keywords, integer);
  if (wrong === undefined && rule !== undefined) report("ARC1070", `@default ${JSON.stringify(fallback)} breaks ${rule}`);
  return {
    ...prose(comment),
    ...(fallback === undefined ? {} : { default: fallback }),
    ...(examples.length === 0 ? {} : { examples }),
    ...(Object.keys(keywords).length === 0 ? {} : { keywords }),
    ...(integer ? { integer: true } : {}),
  };
}

/** The tags of a name that constrain values. */
function constraintsOf(checker: ts.TypeChecker, symbol: ts.Symbol): Comment["tags"] {
  return commentOf(checker, symbol).tags.filter(({ name }) => Object.hasOwn(TAGS, name));
}

function readTag(name: string, rule: TagRule, text: string, shape: Shape, report: Report): JsonLiteral | undefined {
  if (!kindsOf(shape).has(rule.on)) {
    report("ARC1071", `@${name} says something about ${rule.on}s, this is none`);
    return undefined;
  }
  const value = parseTag(rule, text);
  if (value === undefined) report("ARC1070", `@${name} ${text === "" ? "has no value" : `${text} is not ${wanted(rule)}`}`);
  return value;
}

function parseTag(rule: TagRule, text: string): JsonLiteral | undefined {
  switch (rule.value) {
    case "flag":
      return text === "" || text === "true" ? true : undefined;
    case "number": {
      const value = Number(text);
      return text !== "" && Number.isFinite(value) ? value : undefined;
    }
    case "count":
      return /^\d{1,9}$/.test(text) ? Number(text) : undefined;
    case "format":
      return FORMATS.has(text) ? text : undefined;
    case "pattern":
      return readPattern(text);
  }
}

/** A regular expression, bare or between slashes, that JavaScript takes in its strict form. */
function readPattern(text: string): string | undefined {
  const body = /^\/(.+)\/$/.exec(text)?.[1] ?? text;
  try {
    return body !== "" && new RegExp(body, "u") ? body : undefined;
  } catch {
    return undefined;
  }
}

function wanted(rule: TagRule): string {
  return { flag: "empty or true", number: "a number", count: "a whole number", format: `one of ${[...FORMATS].join(", ")}`, pattern: "a regular expression" }[rule.value];
}

/** JSON, or for a string also its bare text. */
function readValue(text: string, shape: Shape, named: Named): JsonLiteral | undefined {
  try {
    const value = JSON.parse(text) as JsonLiteral;
    if (fits(value, shape, named)) return value;
  } catch {
    // Not JSON: perhaps a bare string.
  }
  const bare = /^(["'`])(.*)\1$/s.exec(text)?.[2] ?? text;
  return bare !== "" && !bare.includes("\n") && fits(bare, shape, named) ? bare : undefined;
}

/** Whether a literal is a value of the shape. A name that is still being read has any. */
function fits(value: JsonLiteral, shape: Shape, named: Named): boolean {
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

function kindsOf(shape: Shape): Set<string> {
  switch (shape.kind) {
    case "union":
      return new Set(shape.members.flatMap((member) => [...kindsOf(member)]));
    case "literal":
      return new Set([typeof shape.value]);
    case "tuple":
      return new Set(["array"]);
    case "jsonObject":
      return new Set(["object"]);
    // Tags on a named type stand at the name's declaration, the reference takes those of any kind.
    case "ref":
    case "json":
      return new Set(["number", "string", "array", "object"]);
    default:
      return new Set([shape.kind]);
  }
}

function clean(text: string): string {
  return text.replaceAll("\r\n", "\n").trim().toWellFormed();
}
