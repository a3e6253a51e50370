//! A project to its tools, or to everything that is wrong with it. Pure but for reading files; runs nothing of the project.

import { sortDiagnostics, type Diagnostic, type Span } from "./diagnostics.ts";
import { ambiguities, toCodecSource, type CodecSource } from "./codec.ts";
import { kebabCase } from "./name.ts";
import { readOptions, type OptionLiteral, type ToolSettings } from "./options.ts";
import { dependenciesOf, type Cached } from "./dependencies.ts";
import type { Access, Findings, FoundAria, FoundTool, Mark, TypeOracle } from "./oracle.ts";
import { openProject, type Project, type ProjectConfig } from "./project.ts";
import { toSchema } from "./schema.ts";
import { resolve, type Shapes } from "./shape.ts";
import { checkAuthority } from "./authority.ts";
import { checkName, nameComposite } from "./composites.ts";
import { compileComposites, type Composites } from "./declared.ts";
import { createOracle } from "./ts/oracle.ts";
import { NAME, SEMVER } from "../bundle/reader.ts";
import { Memory } from "./ts/program.ts";
import type { JsonObject } from "../bundle/json.ts";

/** A tool, ready for the manifest and for the bundler. */
export interface CompiledTool {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly input: JsonObject;
  readonly output: JsonObject;
  readonly inputCodec: CodecSource;
  readonly outputCodec: CodecSource;
  readonly settings: ToolSettings;
  readonly access: Access;
}

export interface BundleFacts {
  readonly name: string;
  readonly version: string;
  readonly description: string;
  readonly license: string;
  readonly authors: readonly string[];
}

export interface Compiled {
  readonly project: Project;
  readonly facts: BundleFacts;
  /** Sorted by name. */
  readonly tools: readonly CompiledTool[];
  readonly composites: Composites;
  /** Empty when the project builds. */
  readonly diagnostics: readonly Diagnostic[];
  /** What may be wrong and does not stop it. */
  readonly warnings: readonly Diagnostic[];
  readonly read: (file: string) => string | undefined;
  readonly sources: TypeOracle["sources"];
  readonly dependencies: TypeOracle["dependencies"];
  readonly marks: readonly Mark[];
}

export { Memory };

const NOTHING: Shapes = { root: { kind: "object", properties: [], index: [], docs: {} }, named: new Map() };

/**
 * Reads the project at or above a directory. Throws `CompileError` when there is none or its `arc.toml` is wrong. `cached`: contents of
 * other bundles. With the `memory` of the compile before, only what changed is read anew; the answer is the same.
 */
export function compile(from: string, cached: Cached = () => undefined, memory?: Memory): Compiled {
  const project = openProject(from);
  const oracle = createOracle({ root: project.root, files: project.sources, onlyExported: project.config.entry !== undefined, missing: project.missing, memory });
  return compileWith(project, oracle, cached);
}

/** The same with the type checker given. */
export function compileWith(project: Project, oracle: TypeOracle, cached: Cached = () => undefined): Compiled {
  const language = oracle.check();
  const findings = oracle.find();
  const own: Diagnostic[] = [...findings.diagnostics];
  const warnings: Diagnostic[] = [];
  const pairs = findings.tools.map((found) => ({ found, tool: compileTool(found, own, warnings) }));
  const tools = pairs.map(({ tool }) => tool).sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  const facts = bundleFacts(project, findings.aria, own);
  const named = findings.composites.map((found) => nameComposite(found, own));
  own.push(...duplicates([...pairs.map(({ found, tool }) => ({ name: tool.name, span: found.span })), ...named.map(({ found, name }) => ({ name, span: found.span }))]));
  own.push(...nothingFound(findings, own, language));
  const composites = compileComposites({ bundle: facts.name, named, tools: pairs, dependencies: dependenciesOf(project, cached), flows: oracle.flows, own, warnings });
  return { project, facts, tools, composites, warnings: sortDiagnostics(warnings), diagnostics: syntaxFirst(sortDiagnostics(merge(language, own))), read: oracle.read, sources: oracle.sources, dependencies: oracle.dependencies, marks: findings.marks };
}

function compileTool(found: FoundTool, own: Diagnostic[], warnings: Diagnostic[]): CompiledTool {
  const { settings, diagnostics } = readOptions(found.options);
  own.push(...diagnostics);
  const name = settings.name ?? kebabCase(found.sourceName);
  checkName("tool", name, found.span, own);
  const authority = checkAuthority(name, found, settings);
  own.push(...authority.errors);
  warnings.push(...authority.warnings);
  const input = found.input ?? NOTHING;
  if (!isObjectInput(input)) own.push({ id: "ARC1031", message: "the input of a tool is an object with named members", hint: "wrap it: input: { value: … }", span: found.inputSpan });
  for (const [shapes, span] of [[input, found.inputSpan], [found.output, found.outputSpan]] as const) {
    for (const { first, second } of ambiguities(shapes)) {
      own.push({ id: "ARC1020", message: `${first} and ${second} look the same in JSON`, hint: "keep one, or wrap them in objects with a `kind`", span });
    }
  }
  return {
    name,
    title: settings.title ?? found.docs.title ?? "",
    description: settings.description ?? found.docs.description ?? "",
    input: objectRoot(toSchema(input)),
    output: withDescription(toSchema(found.output), found.outputDescription),
    inputCodec: toCodecSource(input, "i"),
    outputCodec: toCodecSource(found.output, "o"),
    settings,
    access: found.access,
  };
}

/** An object, or a union in which every member is one. A type that failed is not blamed twice. */
function isObjectInput(shapes: Shapes): boolean {
  const root = resolve(shapes, shapes.root);
  if (root.kind === "union") return root.members.every((member) => isObjectInput({ root: member, named: shapes.named }));
  return root.kind === "object" || root.kind === "jsonObject" || root.kind === "json";
}

/** Callers may rely on `type: object` at the top, also of a union. */
function objectRoot(schema: JsonObject): JsonObject {
  if ("type" in schema || "$ref" in schema) return schema;
  const { $schema, ...rest } = schema;
  return { $schema: $schema ?? "", type: "object", ...rest };
}

function withDescription(schema: JsonObject, description: string | undefined): JsonObject {
  if (description === undefined || "description" in schema) return schema;
  const { $schema, ...rest } = schema;
  return { $schema: $schema ?? "", description, ...rest };
}

/** Tools, agents, teams and pipelines are named alike by callers. */
function duplicates(declared: readonly { readonly name: string; readonly span: Span }[]): Diagnostic[] {
  const twice = declared.filter(({ name }, i) => declared.some((other, j) => i !== j && other.name === name));
  return twice.map(({ name, span }) => ({ id: "ARC1049", message: `more than one declaration is called ${name}`, hint: "rename one, or set its `name` option", span }));
}

function nothingFound(findings: Findings, own: readonly Diagnostic[], language: readonly Diagnostic[]): Diagnostic[] {
  if (findings.tools.length + findings.composites.length > 0 || own.length > 0 || language.length > 0) return [];
  return [{ id: "ARC1051", message: "no tool, agent, team or pipeline in the sources", hint: "mark a method with @tool, or export a constant made by defineTool, both from @aria/sdk" }];
}

/** A file that does not parse may be the cause of everything else. */
function syntaxFirst(sorted: readonly Diagnostic[]): Diagnostic[] {
  return [...sorted.filter(({ id }) => id === "ARC1002"), ...sorted.filter(({ id }) => id !== "ARC1002")];
}

/** One place, one finding: arc's own says more than TypeScript's, and a missing import explains every `any` after it. */
function merge(language: readonly Diagnostic[], own: readonly Diagnostic[]): Diagnostic[] {
  const broken = new Set(language.filter(({ id }) => id === "ARC1002").map(({ span }) => span?.file));
  const imports = language.some((diagnostic) => diagnostic.id === "ARC1003" || diagnostic.id === "ARC1004" || diagnostic.id === "ARC1002");
  // What was read in a file that does not parse is a guess.
  const sound = own.filter(({ span }) => !span || !broken.has(span.file));
  const kept = imports ? sound.filter((diagnostic) => diagnostic.id !== "ARC1010" && diagnostic.id !== "ARC1011" && diagnostic.id !== "ARC1051") : sound;
  return [...language.filter((error) => error.id !== "ARC1001" || !kept.some((diagnostic) => says(diagnostic, error))), ...kept];
}

/** Whether a finding of arc's is about the same thing as an error of TypeScript's. Options are one line's business. */
function says({ id, span }: Diagnostic, error: Diagnostic): boolean {
  if (!span || !error.span || span.file !== error.span.file) return false;
  if (/^ARC10(4[567]|6)/.test(id) && span.line === error.span.line) return true;
  const starts = (s: Span): number => s.line * 10_000 + s.column;
  const ends = (s: Span): number => s.endLine * 10_000 + s.endColumn;
  return starts(span) < ends(error.span) && starts(error.span) < ends(span);
}

/** Facts from `arc.toml`, `@aria` and defaults; both may speak, they may not disagree. */
function bundleFacts(project: Project, aria: readonly FoundAria[], own: Diagnostic[]): BundleFacts {
  for (const surplus of aria.slice(1)) own.push({ id: "ARC1055", message: "the bundle is described twice", span: surplus.span });
  const said = new Map((aria[0]?.options ?? []).map((option) => [option.key, option]));
  for (const option of said.values()) {
    if (!["name", "version", "description", "license", "authors"].includes(option.key)) own.push({ id: "ARC1046", message: `@aria has no option ${JSON.stringify(option.key)}`, hint: "known: name, version, description, license, authors", span: option.span });
  }
  const text = (key: "name" | "version" | "description" | "license", pattern?: RegExp): string | undefined => fact(said.get(key), project.config, key, pattern, own) as string | undefined;
  const name = text("name", NAME);
  if (name !== undefined) checkName("bundle", name, said.get("name")?.span, own);
  else own.push({ id: "ARC1048", message: "the bundle has no name", hint: 'arc.toml: [bundle] name = "…"' });
  return {
    name: name ?? "unnamed",
    version: text("version", SEMVER) ?? "0.1.0",
    description: text("description") ?? "",
    license: text("license") ?? "",
    authors: (fact(said.get("authors"), project.config, "authors", undefined, own) as readonly string[] | undefined) ?? [],
  };
}

function fact(option: OptionLiteral | undefined, config: ProjectConfig, key: keyof ProjectConfig, pattern: RegExp | undefined, own: Diagnostic[]): unknown {
  const written = config[key];
  if (!option) return written;
  const { value, span } = option;
  const sound = key === "authors" ? Array.isArray(value) && value.every((item) => typeof item === "string") : typeof value === "string" && (!pattern || pattern.test(value));
  if (!sound) own.push({ id: key === "name" ? "ARC1048" : "ARC1047", message: `@aria ${key} ${JSON.stringify(value)} is not valid`, span });
  else if (written !== undefined && JSON.stringify(written) !== JSON.stringify(value)) {
    own.push({ id: "ARC1056", message: `arc.toml says ${key} is ${JSON.stringify(written)}, @aria says ${JSON.stringify(value)}`, span });
  }
  return written ?? (sound ? value : undefined);
}
