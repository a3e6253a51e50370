//! Doc comments to schema annotations. A tag that would be ignored or could not be read is a finding, not a shrug.

import type { DiagnosticId } from "../diagnostics.ts";
import { prose, type Comment } from "./comment.ts";
import { broken, contradiction } from "./constraints.ts";
import { fits, kindsOf, type Named } from "./fits.ts";
import type { Docs, JsonLiteral, Shape } from "../shape.ts";

/** Kinds of values that tags are about. */
export type Kind = "number" | "string" | "array" | "object";

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

/** Takes a finding about the place that is being read. */
export type Report = (id: DiagnosticId, message: string, hint?: string) => void;

/**
 * What doc comments say about one value, the nearest to it last: that one wins. `shape` decides which tags may stand on it.
 */
export function docsOf(comments: readonly Comment[], shape: Shape, report: Report, named: Named): Docs {
  const keywords: Record<string, JsonLiteral> = {};
  const examples: JsonLiteral[] = [];
  let fallback: JsonLiteral | undefined;
  let integer = false;
  for (const tag of comments.flatMap(({ tags }) => tags)) {
    const { text } = tag;
    const rule = ruleOf(tag.name);
    if (rule) {
      const value = readTag(tag.name, rule, text, shape, report, named);
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
  if (wrong !== undefined) report("ARC1070", wrong, "remove one of them, or write bounds that some value keeps");
  const rule = fallback === undefined ? undefined : broken(fallback, keywords, integer);
  if (wrong === undefined && rule !== undefined) report("ARC1070", `@default ${JSON.stringify(fallback)} breaks ${rule}`, "write a default that keeps the rule");
  return {
    ...Object.assign({}, ...comments.map(prose)),
    ...(fallback === undefined ? {} : { default: fallback }),
    ...(examples.length === 0 ? {} : { examples }),
    ...(Object.keys(keywords).length === 0 ? {} : { keywords }),
    ...(integer ? { integer: true } : {}),
  };
}

/** The tags of a comment that constrain values, with the kind of value each is about. */
export function constraintsIn({ tags }: Comment): { readonly name: string; readonly on: Kind }[] {
  return tags.flatMap(({ name }) => {
    const rule = ruleOf(name);
    return rule ? [{ name, on: rule.on }] : [];
  });
}

/** Whether a tag speaks of values: a constraint, a default or an example. */
export function isAboutValues(name: string): boolean {
  return ruleOf(name) !== undefined || name === "default" || name === "defaultValue" || name === "example";
}

function ruleOf(name: string): TagRule | undefined {
  return Object.hasOwn(TAGS, name) ? TAGS[name] : undefined;
}

function readTag(name: string, rule: TagRule, text: string, shape: Shape, report: Report, named: Named): JsonLiteral | undefined {
  if (!kindsOf(shape, named).has(rule.on)) {
    report("ARC1071", `@${name} says something about ${rule.on}s, this is none`, "remove it, or write it on a member of that kind");
    return undefined;
  }
  const value = parseTag(rule, text);
  if (value === undefined) report("ARC1070", `@${name} ${text === "" ? "has no value" : `${text} is not ${wanted(rule)}`}`, `write for example \`@${name}${EXAMPLES[rule.value]}\``);
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

const EXAMPLES = { flag: "", number: " 1", count: " 1", format: " email", pattern: " ^[a-z]+$" } as const;

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

