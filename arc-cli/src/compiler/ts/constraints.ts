//! Whether the constraints of one doc comment can hold at once, and whether a value obeys them.

import type { JsonLiteral } from "../shape.ts";

export type Keywords = { readonly [keyword: string]: JsonLiteral };

const PAIRS = [
  ["minimum", "maximum"],
  ["minLength", "maxLength"],
  ["minItems", "maxItems"],
  ["minProperties", "maxProperties"],
] as const;

/** What is wrong with the constraints themselves; nothing when some value could obey them. */
export function contradiction(keywords: Keywords): string | undefined {
  const at = (name: string): number | undefined => numberOf(keywords, name);
  const step = at("multipleOf");
  if (step !== undefined && step <= 0) return `@multipleOf ${step} is not above 0`;
  for (const [low, high] of PAIRS) {
    const [min, max] = [at(low), at(high)];
    if (min !== undefined && max !== undefined && min > max) return `@${low} ${min} is above @${high} ${max}, no value fits`;
  }
  for (const [low, high] of [["exclusiveMinimum", "maximum"], ["exclusiveMinimum", "exclusiveMaximum"], ["minimum", "exclusiveMaximum"]] as const) {
    const [min, max] = [at(low), at(high)];
    if (min !== undefined && max !== undefined && min >= max) return `@${low} ${min} is not below @${high} ${max}, no value fits`;
  }
  return undefined;
}

/** The constraint that a value breaks. Those of another kind of value say nothing about it. */
export function broken(value: JsonLiteral, keywords: Keywords, integer: boolean): string | undefined {
  if (typeof value === "number") return brokenByNumber(value, keywords, integer);
  if (typeof value === "string") {
    const { pattern } = keywords;
    if (typeof pattern === "string" && !new RegExp(pattern, "u").test(value)) return `@pattern ${pattern}`;
    return brokenBySize([...value].length, keywords, "minLength", "maxLength");
  }
  if (Array.isArray(value)) return brokenBySize(value.length, keywords, "minItems", "maxItems");
  if (typeof value === "object" && value !== null) return brokenBySize(Object.keys(value).length, keywords, "minProperties", "maxProperties");
  return undefined;
}

function brokenByNumber(value: number, keywords: Keywords, integer: boolean): string | undefined {
  const rules: readonly (readonly [string, (limit: number) => boolean])[] = [
    ["minimum", (limit) => value >= limit],
    ["maximum", (limit) => value <= limit],
    ["exclusiveMinimum", (limit) => value > limit],
    ["exclusiveMaximum", (limit) => value < limit],
    // Decimal steps such as 0.05 are not exact in binary.
    ["multipleOf", (step) => step <= 0 || Math.abs(value / step - Math.round(value / step)) < 1e-9],
  ];
  if (integer && !Number.isInteger(value)) return "@integer";
  const rule = rules.find(([name, holds]) => {
    const limit = numberOf(keywords, name);
    return limit !== undefined && !holds(limit);
  });
  return rule && `@${rule[0]} ${numberOf(keywords, rule[0])}`;
}

function brokenBySize(size: number, keywords: Keywords, low: string, high: string): string | undefined {
  const [min, max] = [numberOf(keywords, low), numberOf(keywords, high)];
  if (min !== undefined && size < min) return `@${low} ${min}`;
  return max !== undefined && size > max ? `@${high} ${max}` : undefined;
}

function numberOf(keywords: Keywords, name: string): number | undefined {
  const value = Object.hasOwn(keywords, name) ? keywords[name] : undefined;
  return typeof value === "number" ? value : undefined;
}
