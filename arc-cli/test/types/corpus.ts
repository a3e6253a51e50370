//! The corpus of types: what a case is, and how its text is read.
//!
//! A case is the source of a type `T`, then what must be said about values, which are TypeScript expressions:
//!
//! - `yes v, …`: TypeScript takes it and the schema takes it
//! - `no v, …`: neither does
//! - `only-type v, … // why`: TypeScript takes it, the schema refuses; `only-schema` the other way round
//! - `at /pointer json`: what stands at that place of the schema
//! - `refused ARC1014, …`: arc refuses the type, for these reasons and no other

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";

export interface Value {
  /** A TypeScript expression. */
  readonly source: string;
  readonly inTypes: boolean;
  readonly inSchema: boolean;
}

export interface Case {
  /** `family: construct`. */
  readonly name: string;
  /** Name of its module and of the tool in it. */
  readonly id: string;
  readonly source: string;
  readonly values: readonly Value[];
  readonly places: readonly { readonly pointer: string; readonly json: unknown }[];
  readonly refused: readonly string[];
}

const VERDICTS: Readonly<Record<string, readonly [inTypes: boolean, inSchema: boolean]>> = {
  yes: [true, true],
  no: [false, false],
  "only-type": [true, false],
  "only-schema": [false, true],
};

/** Every case, by family and place. Throws where a line says nothing. */
export function readCorpus(): Case[] {
  const dir = join(import.meta.dir, "corpus");
  const families = readdirSync(dir).sort();
  const sections = families.flatMap((file) => {
    const [, ...found] = `\n${readFileSync(join(dir, file), "utf8")}`.split(/\n## /);
    return found.map((section) => ({ family: file.replace(/\.txt$/, ""), section }));
  });
  return sections.map(({ family, section }, i) => readCase(family, `case${i}`, section));
}

function readCase(family: string, id: string, section: string): Case {
  const [title = "", ...lines] = section.trimEnd().split("\n");
  const name = `${family}: ${title}`;
  const isSaid = (line: string): boolean => /^(yes|no|only-type|only-schema|at|refused) /.test(line);
  const said = lines.filter(isSaid).map((line): readonly [string, string] => [line.slice(0, line.indexOf(" ")), line.slice(line.indexOf(" ") + 1)]);
  const values = said.flatMap(([word, rest]) => readValues(name, word, rest));
  const places = said.filter(([word]) => word === "at").map(([, rest]) => readPlace(rest));
  const refused = said.filter(([word]) => word === "refused").flatMap(([, rest]) => rest.split(", "));
  if (values.length + places.length + refused.length === 0) throw new Error(`${name}: nothing is demanded`);
  return { name, id, source: lines.filter((line) => !isSaid(line)).join("\n").trim(), values, places, refused };
}

function readValues(name: string, word: string, rest: string): Value[] {
  const verdict = VERDICTS[word];
  if (!verdict) return [];
  const [list = "", why] = rest.split(" // ");
  if (word.startsWith("only-") && !why) throw new Error(`${name}: say why the two differ`);
  const file = ts.createSourceFile("values.ts", `[${list}]`, ts.ScriptTarget.ESNext, true);
  const [statement] = file.statements;
  if (!statement || !ts.isExpressionStatement(statement) || !ts.isArrayLiteralExpression(statement.expression)) throw new Error(`${name}: ${list} is no list of values`);
  return statement.expression.elements.map((element) => ({ source: element.getText(), inTypes: verdict[0], inSchema: verdict[1] }));
}

function readPlace(rest: string): { pointer: string; json: unknown } {
  const [pointer = ""] = rest.split(" ", 1);
  return { pointer: pointer === "/" ? "" : pointer, json: JSON.parse(rest.slice(pointer.length)) };
}
