//! Two judges of a value: TypeScript, by the type, and a JSON Schema validator, by the schema that arc made of the type.

import Ajv2020, { type AnySchema, type ValidateFunction } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import ts from "typescript";

import type { Case, Value } from "./corpus.ts";
import { decode, encode, type Codec } from "../../sdk/src/harness/codec.ts";
import { compileWith, type CompiledTool } from "../../src/compiler/compile.ts";
import type { CodecSource } from "../../src/compiler/codec.ts";
import type { Diagnostic } from "../../src/compiler/diagnostics.ts";
import { openProject } from "../../src/compiler/project.ts";
import { createFlows } from "../../src/compiler/ts/flows.ts";
import { findIn } from "../../src/compiler/ts/oracle.ts";
import { createProgram } from "../../src/compiler/ts/program.ts";

/** The part of the compiler that makes schemas of types; mutants of it have the same. */
export interface Mapper {
  readonly compileWith: typeof compileWith;
  readonly findIn: typeof findIn;
}

/** What a mapper said about one case. */
export interface Mapped {
  readonly tool: CompiledTool | undefined;
  readonly refused: readonly string[];
}

/** All cases as one project, type-checked once. */
export class Corpus {
  readonly cases: readonly Case[];
  readonly #root = mkdtempSync(join(tmpdir(), "arc-types-"));
  readonly #program: ts.Program;
  readonly #project: ReturnType<typeof openProject>;

  constructor(cases: readonly Case[]) {
    this.cases = cases;
    writeFileSync(join(this.#root, "arc.toml"), '[bundle]\nname = "types"\n');
    for (const dir of ["src", "values"]) {
      mkdirSync(join(this.#root, dir));
      cpSync(join(import.meta.dir, "shared.ts"), join(this.#root, dir, "shared.ts"));
    }
    for (const item of cases) {
      writeFileSync(this.#path(item), checkedModule(item));
      writeFileSync(join(this.#root, `values/${item.id}.ts`), valuesModule(item));
    }
    this.#project = openProject(this.#root);
    this.#program = createProgram(this.#root, this.#project.sources).program;
  }

  [Symbol.dispose](): void {
    rmSync(this.#root, { recursive: true });
  }

  #path(item: Case): string {
    return join(this.#root, `src/${item.id}.ts`);
  }

  /** Which values TypeScript takes, and what it says about anything but values. */
  typed(item: Case): { readonly taken: readonly boolean[]; readonly other: readonly string[] } {
    const source = this.#program.getSourceFile(this.#path(item));
    if (!source) throw new Error(`${item.name} was not read`);
    const first = source.text.slice(0, source.text.indexOf(VALUES)).split("\n").length;
    const errors = [...this.#program.getSyntacticDiagnostics(source), ...this.#program.getSemanticDiagnostics(source)].map((error) => ({
      index: source.getLineAndCharacterOfPosition(error.start ?? 0).line - first,
      text: ts.flattenDiagnosticMessageText(error.messageText, "\n"),
    }));
    const taken = item.values.map((_, i) => !errors.some(({ index }) => index === i));
    return { taken, other: errors.filter(({ index }) => index < 0 || index >= item.values.length).map(({ text }) => text) };
  }

  /** The schemas that a mapper makes, by case; of all cases, or of some. */
  map({ compileWith: compile, findIn: find }: Mapper, some = this.cases): { readonly byCase: ReadonlyMap<Case, Mapped>; readonly read: (file: string) => string | undefined; readonly diagnostics: readonly Diagnostic[] } {
    const options = { root: this.#root, files: some.map((item) => this.#path(item)), onlyExported: false, missing: new Set<string>() };
    const read = (file: string): string | undefined => this.#program.getSourceFile(join(this.#root, file))?.text;
    const paths = new Set(some.map((item) => this.#path(item)));
    const files = this.#program.getSourceFiles().filter(({ fileName }) => paths.has(fileName));
    const program = Object.assign(Object.create(this.#program) as ts.Program, { getSourceFiles: () => files });
    const { tools, diagnostics } = compile(this.#project, { check: () => [], find: () => find(program, options), sources: () => [], dependencies: () => [], read, flows: createFlows(program) });
    const byName = new Map(tools.map((tool) => [tool.name, tool]));
    const byCase = new Map(
      some.map((item): [Case, Mapped] => {
        const refused = diagnostics.filter(({ span }) => span?.file === `src/${item.id}.ts`).map(({ id }) => id as string);
        return [item, { tool: byName.get(item.id), refused: [...new Set(refused)].sort() }];
      }),
    );
    return { byCase, read, diagnostics };
  }

  /** The values of a case as they are at run time. */
  async values(item: Case): Promise<readonly unknown[]> {
    if (item.values.length === 0) return [];
    const module = (await import(join(this.#root, `values/${item.id}.ts`))) as { readonly values: readonly unknown[] };
    return module.values;
  }
}

const VALUES = "// values\n";

/** A case as a module of the project: its types, its values one to a line, a tool that takes and gives a `T`. */
function checkedModule({ id, source, values }: Case): string {
  return [
    'import { defineTool } from "@aria/sdk";',
    source,
    `${VALUES}${values.map((value, i) => `const value${i}: T = ${value.source};\n`).join("")}// tool`,
    `export const ${id} = defineTool({ run: (input: { value: T }): T => input.value });`,
    "",
  ].join("\n");
}

/** The same as a module that can be imported for its values. */
function valuesModule({ source, values }: Case): string {
  return `${source}\nexport const values: readonly unknown[] = [\n${values.map((value) => `${value.source},\n`).join("")}];\n`;
}

/** This mapper. */
export const mapper: Mapper = { compileWith, findIn };

const ajv = new Ajv2020({ strict: true, strictTypes: false, strictTuples: false, allowUnionTypes: true });
addFormats(ajv);
// As on the device: bytes are base64, and that is checked.
ajv.removeKeyword("contentEncoding");
ajv.addKeyword({ keyword: "contentEncoding", type: "string", validate: (_: string, text: string) => /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text) });

const compiled = new Map<string, ValidateFunction>();

function validatorOf(schema: AnySchema): ValidateFunction {
  const text = JSON.stringify(schema);
  const known = compiled.get(text) ?? ajv.compile(schema);
  compiled.set(text, known);
  return known;
}

/** Whether both schemas of a tool take a value, as the member `value` and as the whole. They must agree. */
export function validated(tool: CompiledTool, value: unknown): boolean | "the two differ" {
  const json = toJson(value);
  const member = validatorOf(tool.input)(json === undefined ? {} : { value: json });
  // A whole answer may be undefined and travels as null, so nothing is learnt from these two.
  if (json === undefined || json === null) return member;
  return validatorOf(tool.output)(json) === member ? member : "the two differ";
}

/** Plain JSON of a value, as a caller would write it. */
function toJson(value: unknown): unknown {
  if (value === undefined) return undefined;
  return JSON.parse(JSON.stringify(value, function (this: Record<string, unknown>, key: string, item: unknown) {
    const real = this[key];
    if (real instanceof Uint8Array) return real.toBase64();
    return item;
  }));
}

/** What becomes of a value that goes out as an answer and comes in as an argument again. */
export function travelled(tool: CompiledTool, value: unknown): unknown {
  const answer: unknown = JSON.parse(encode(codecOf(tool.outputCodec), value));
  const given = decode(codecOf(tool.inputCodec), { value: answer }) as { readonly value: unknown };
  return given.value;
}

function codecOf({ declarations, expression }: CodecSource): Codec {
  return new Function(`${declarations}\nreturn ${expression};`)() as Codec;
}

/** What is wrong with a mapper by one case; empty when it says what the case demands. */
export function faults(item: Case, { tool, refused }: Mapped, values: readonly unknown[]): string[] {
  if (refused.join(", ") !== [...item.refused].sort().join(", ")) return [`refused for ${refused.join(", ") || "nothing"}`];
  if (item.refused.length > 0) return [];
  if (!tool) return ["no tool was made"];
  return [...item.values.flatMap((value, i) => valueFaults(tool, value, values[i])), ...placeFaults(tool, item.places)];
}

function valueFaults(tool: CompiledTool, { source, inSchema }: Value, value: unknown): string[] {
  const verdict = validated(tool, value);
  return verdict === inSchema ? [] : [`${source}: the schema says ${String(verdict)}`];
}

function placeFaults({ output }: CompiledTool, places: Case["places"]): string[] {
  return places.flatMap(({ pointer, json }) => {
    const found = pointer.split("/").slice(1).reduce<unknown>((at, key) => (at as Record<string, unknown> | undefined)?.[key], output);
    return Bun.deepEquals(found, json) ? [] : [`${pointer} is ${JSON.stringify(found)}`];
  });
}
