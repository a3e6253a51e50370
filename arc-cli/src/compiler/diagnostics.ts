//! What arc can find wrong with a project: one stable id per cause, with its long form for `arc explain`.
//!
//! The table is the only place where an id gets a meaning. Ids are never reused.

import type { Explanation } from "../explanations.ts";

interface Entry {
  readonly title: string;
  readonly text: string;
  readonly fix: readonly string[];
}

const entry = (title: string, text: string, ...fix: string[]): Entry => ({ title, text, fix });

const table = {
  ARC1001: entry("type error", "TypeScript found an error. arc checks the whole project in strict mode before it reads any tool, because a schema taken from types that do not hold would be wrong. The message and its TS number are TypeScript's own."),
  ARC1002: entry("syntax error", "The file is not TypeScript. Nothing else in it was looked at."),
  ARC1003: entry("unresolved import", "An import leads nowhere, so everything that comes from it would be `any` and its schema would be invented. arc refuses instead. Install the dependencies of the project, or correct the path.", "bun install"),
  ARC1004: entry("dependencies are not installed", "`package.json` names dependencies and `node_modules` does not have them. arc never installs anything by itself.", "bun install"),
  ARC1010: entry("`any` in a schema", "A value of type `any` has no schema, so nothing could be checked on the device. Give it its type; where any JSON is really meant, use `JsonValue` from `@aria/sdk`."),
  ARC1011: entry("`unknown` in a schema", "A value of type `unknown` has no schema. Give it its type; where any JSON is really meant, use `JsonValue` from `@aria/sdk`."),
  ARC1012: entry("function in a schema", "A function cannot cross from caller to tool. Pass data, or make the function a tool of its own."),
  ARC1013: entry("symbol in a schema", "A symbol has no JSON form. Use a string, or a union of string literals."),
  ARC1014: entry("bigint in a schema", "JSON numbers cannot carry a `bigint` safely and arc does not guess. Use `number` where 2^53 is enough, else `string`."),
  ARC1015: entry("type without a JSON form", "The type keeps its content where JSON does not see it (Map, Set, RegExp, streams, buffers other than Uint8Array …). Use an array, a record, a string or Uint8Array."),
  ARC1016: entry("class instance in a schema", "The class has methods or hidden members; an object made from JSON would not have them. Use an interface with the data alone."),
  ARC1017: entry("`never` in a schema", "No value has the type `never`, so no call could be valid. Often two types were intersected that exclude each other."),
  ARC1018: entry("type without an end", "The type unfolds for ever or into more than 10,000 parts. Recursion through a named interface or type alias is fine; a generic that wraps itself anew at each level is not."),
  ARC1019: entry("object without a shape", "`object`, `Object` and `{ [key: symbol]: … }` say nothing about their members. Name the members, use `Record<string, T>`, or `JsonObject` from `@aria/sdk`."),
  ARC1020: entry("union that JSON cannot tell apart", "A `Date` and a `string` (or `Uint8Array` and `string`) look the same in JSON, so the tool could not know which it was given. Keep one, or wrap them in objects with a `kind`."),
  ARC1021: entry("type that arc does not know", "This form of type has no rule in arc. Write the type out in plain members."),
  ARC1022: entry("open type parameter", "The tool is generic; a caller cannot choose a type argument over the wire. Write the concrete type."),
  ARC1023: entry("text without a pattern", "`Uppercase<string>` and its kin, also inside a template, describe texts that no JSON Schema pattern describes exactly, and arc does not widen them to any text. Write `string` and put the rule as `@pattern` into the doc comment of the member, or write out the literals: `Uppercase<\"a\" | \"b\">` is fine."),
  ARC1024: entry("value that JSON lacks", "A literal, an enum member or a name is no JSON: `NaN`, an infinity, or a text with half of a surrogate pair. It could be sent by nobody."),
  ARC1030: entry("more than one parameter", "A tool takes one object or nothing, because callers name their arguments. Put the parameters into one object type."),
  ARC1031: entry("input is not an object", "The input of a tool is one object with named members. Wrap the value: `input: { value: … }`."),
  ARC1032: entry("list of arguments", "The parameter of a tool is one object, a rest parameter is not. Use a member of array type."),
  ARC1033: entry("thenable that is not a Promise", "The result has a `then` but is no `Promise`, so its value cannot be read from the type. Await it inside the tool."),
  ARC1034: entry("generator as a tool", "A tool answers once. Collect the values into an array, or report on the way with `progress` and `log`."),
  ARC1040: entry("parameter decorator", "Parameter decorators are not part of the language. Some tools drop them in silence; arc refuses. Use doc comments on the members of the input type."),
  ARC1041: entry("decorator in the wrong place", "`@tool` belongs on a public method; fields, accessors, constructors and classes are not callable by name. `@agent`, `@team`, `@pipeline` and `@aria` belong on a class. Each has a function form for constants: `defineTool`, `defineAgent`, `defineTeam`, `definePipeline`, `defineAria`."),
  ARC1042: entry("@tool on a hidden method", "A private, protected or abstract method cannot be called from outside its class. Make it public and give it a body."),
  ARC1043: entry("declaration that is not exported", "arc calls a tool through its module's exports, and an agent, team or pipeline is part of what a module offers. Export the class or the constant."),
  ARC1044: entry("class that cannot be made", "A fresh instance is made for each call without arguments. The class must not be abstract and its constructor must need no parameters; a static method needs no instance."),
  ARC1045: entry("option that is not a literal", "arc reads options from the source and runs nothing, so they must be literals or constants made of literals: strings, numbers, true, false, arrays and objects of these."),
  ARC1046: entry("unknown option", "The options of a declaration are a closed list; a typing mistake would otherwise be a silent default."),
  ARC1047: entry("option with a wrong value", "The option exists, its value is outside what it may be. The message says what is allowed."),
  ARC1048: entry("name that is not valid", "Names of bundles, tools, agents, teams, pipelines and steps are 1 to 63 characters of `a-z`, `0-9` and `-`, beginning with a letter."),
  ARC1049: entry("two declarations with one name", "Tools, agents, teams and pipelines of a bundle share one set of names, because callers name them alike. The class takes no part in a tool's name, so two methods of the same name collide. Rename one, or set its `name` option."),
  ARC1050: entry("overloaded tool", "A tool has one input and one output schema. Keep one signature, with a union where needed."),
  ARC1051: entry("nothing declared", "Nothing under `src/` is a tool, agent, team or pipeline: no exported class has a method with `@tool` or is marked itself, no exported constant is made by `defineTool` or its siblings, all imported from `@aria/sdk`."),
  ARC1052: entry("declaration that is no constant", "`defineTool` and its siblings take the name from the constant they are assigned to: `export const name = defineTool({ … })`."),
  ARC1053: entry("computed method name", "The name of a tool must stand in the source as it is."),
  ARC1054: entry("legacy decorators", "`experimentalDecorators` and `emitDecoratorMetadata` turn on an older dialect. arc and Bun use the standard one. Remove these two options from tsconfig.json."),
  ARC1055: entry("two @aria decorators", "One project is one bundle, so it is described once."),
  ARC1056: entry("@aria and arc.toml disagree", "Name, version, description, license and authors may be written in either place. Where both say something they say the same."),
  ARC1060: entry("malformed token", "A resource token is `kind:name[:scope]…[:mode]`, lower case, without wildcards, for example `kv:orders:ro`."),
  ARC1061: entry("malformed egress host", "Egress is a host name with an optional port, lower case, no scheme, no path, no wildcard: `api.example.com` or `api.example.com:8443`."),
  ARC1062: entry("malformed secret name", "Secrets are named here, never written here. A name is up to 63 characters of `a-z`, `0-9`, `.`, `_` and `-`."),
  ARC1070: entry("doc tag with a wrong value", "A doc tag that becomes part of the schema must hold a value of its kind: a number for `@minimum`, JSON for `@default`, a regular expression for `@pattern`."),
  ARC1071: entry("doc tag in the wrong place", "The tag says something about another kind of value, for example `@minLength` on a number, or belongs to the name of a plain type in a place where the name is lost: an argument of a generic, or one of two texts in a union. It would be ignored, so it is refused."),
  ARC1080: entry("no project here", "arc looks for `arc.toml` in the current directory and above it.", "arc new my-tool --template tool"),
  ARC1081: entry("arc.toml is not TOML", "The file could not be read as TOML 1.0. The message names the place."),
  ARC1082: entry("unknown key in arc.toml", "The keys of arc.toml are a closed list. `[bundle]`: name, version, description, license, authors, entry. `[build]`: include, exclude. `[dependencies]`: a version range for each bundle. `[registry]`: shelf."),
  ARC1083: entry("wrong value in arc.toml", "The key exists, its value is of another kind than it must be."),
  ARC1084: entry("no sources", "There is no `.ts` file to read. Sources are `src/**/*.ts`, or what `[bundle] entry` and `[build] include` name."),
  ARC1090: entry("the bundler refused the code", "The types hold but the code could not be bundled. The message is the bundler's."),
  ARC1091: entry("native addon", "A `.node` file is machine code outside the sandbox's rules and the device's processor may be another. Use a package in JavaScript or WebAssembly."),
  ARC1092: entry("asset that is not there", "The code refers to a file beside it and that file does not exist, so it could not travel in the bundle."),
  ARC1093: entry("bundle over a limit", "The bundle is larger than a device takes. The limits are in docs/formats.md."),
  ARC1094: entry("macro", "A Bun macro (`with { type: \"macro\" }`, or an import of `macro:…`) is code that runs on the machine that builds. arc runs no code of a project or of its dependencies: import it the ordinary way, or write its result into the source."),
  ARC1110: entry("unknown tool", "An agent or a step names a tool that this bundle does not declare. The name is the one callers use: the method or constant in kebab-case, or its `name` option."),
  ARC1111: entry("unknown agent", "A team or a step names an agent that this bundle does not declare. The name is the class or constant in kebab-case, or its `name` option."),
  ARC1112: entry("unknown team", "A step names a team that this bundle does not declare."),
  ARC1113: entry("unknown pipeline", "A step names a pipeline that this bundle does not declare."),
  ARC1114: entry("unknown step", "A reference (`$step.member`) or `after` names a step that the pipeline does not have."),
  ARC1115: entry("steps that wait for each other", "A step begins when those it refers to have ended. In a circle none of them can begin. The message shows the circle; take one reference out, or split a step in two."),
  ARC1116: entry("pipelines that call each other in a circle", "A pipeline that calls itself, directly or through others, would never end."),
  ARC1117: entry("value that does not fit", "What flows into a step is checked with TypeScript's own rules: what an earlier step gives, or the literal, must be assignable to what the called tool takes. Members that are needed must be there, others than it takes may not."),
  ARC1118: entry("reference that leads nowhere", "`$input.member` is what the pipeline was given, `$step.member` what a step gave. The path must exist in the type. A text that really begins with `$` is written with two: `$$`."),
  ARC1119: entry("reserved name", "The modes of tokens (`ro`, `rw`, `append`, `exclusive`) cannot be names, because tokens name bundles and tools. `aria`, `arc` and `exec` cannot be bundles. `input` cannot be a step."),
  ARC1120: entry("listed twice", "The same name stands twice in one list. One of the two was probably meant to be another."),
  ARC1121: entry("team without its lead", "The strategies `hierarchical` and `delegation`, and the consensus `lead`, need a lead, and the lead is one of the members."),
  ARC1122: entry("value that may be absent", "A step with a condition, or one the pipeline may go on without, gives nothing when it does not run; optional members may be absent too. What is called here needs the value. Make the member optional there, or refer to something that is always there."),
  ARC1125: entry("bundle that is no dependency", "A name like `orders.count` points into another bundle. Which versions fit is said once, in arc.toml under `[dependencies]`."),
  ARC1126: entry("dependency that is not resolved", "arc.toml asks for the bundle and arc.lock does not pin one, so it is not known which version is meant and what it holds. arc invents nothing.", "arc install"),
  ARC1127: entry("arc.lock and arc.toml disagree", "The version that arc.lock pins is outside the range that arc.toml asks for. One of the two is older than the other.", "arc install --update"),
  ARC1128: entry("not in that bundle", "The version of the bundle that arc.lock pins has nothing of this kind and name."),
  ARC1130: entry("token that is not declared", "The code uses a table, a collection or a tool, here or in a function it reaches, and the tool's options do not ask for the right. The device would refuse the call; arc says it now. The hint is the line to write."),
  ARC1131: entry("host that is not declared", "The code opens a connection to this host and the tool's options do not name it in `egress`. A tool reaches no host it does not declare."),
  ARC1132: entry("secret that is not declared", "The code asks for this secret and the tool's options do not name it in `secrets`."),
  ARC1133: entry("program that is not declared", "The code starts another program, which the sandbox refuses unless the tool's options say `spawn: true`."),
  ARC1140: entry("declared and not used", "A warning. The options ask for more than the code was seen to use, so a mistake or an attack could do more than it has to. Code of packages is not read; where a tool uses one, hosts and secrets are not judged."),
  ARC1141: entry("only known when it runs", "A warning. The name of the table, tool, host or secret is made while the code runs, so arc cannot compare it with what the tool declares. The device still refuses what is not declared. A constant, or a union of literals as the type, makes it known."),
  ARC1142: entry("not checked against the other bundle", "A warning. What a tool of another bundle takes and gives is not part of arc.lock, so what flows into this step and out of it is checked when it runs."),
  ARC1100: entry("directory is not empty", "`arc new` writes into a new or an empty directory and never over your files."),
  ARC1102: entry("file cannot be written", "The output could not be written to its place. Something that exists there and is no regular file (a device, a pipe, a directory) is never replaced."),
  ARC1103: entry("file cannot be read", "The input is missing, is a directory, or may not be read."),
  ARC1105: entry("build is not reproducible", "The project was built again in another directory, by a process with another clock, time zone and language, and gave other bytes, or did not build there. The message names the first file and place that differ. Usual causes: a generated file that holds a time or a path, or an import from outside the project."),
  ARC1104: entry("not a sound bundle", "The file breaks a rule of the bundle format and would be refused by every device. The reason in the message is the rule's name."),
} as const satisfies Record<string, Entry>;

/** The stable id of one cause. */
export type DiagnosticId = keyof typeof table;

/** For `arc explain`. */
export const explanations: readonly Explanation[] = Object.entries(table).map(([code, item]) => ({ code, ...item }));

export function titleOf(id: DiagnosticId): string {
  return table[id].title;
}

export function fixOf(id: DiagnosticId): readonly string[] {
  return table[id].fix;
}

/** A place in a source file, counted from 1. `file` is relative to the project. */
export interface Span {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly endLine: number;
  readonly endColumn: number;
}

/** One finding. `span` is absent when it is about the project as a whole. */
export interface Diagnostic {
  readonly id: DiagnosticId;
  readonly message: string;
  readonly hint?: string;
  /** Commands, where those of the id do not fit this case. */
  readonly fix?: readonly string[];
  readonly span?: Span;
  /** TypeScript's own number, for ARC1001. */
  readonly ts?: number;
}

/** By file and place, so that two runs print the same. */
export function sortDiagnostics(diagnostics: readonly Diagnostic[]): Diagnostic[] {
  const key = (d: Diagnostic): [string, number, number] => [d.span?.file ?? "", d.span?.line ?? 0, d.span?.column ?? 0];
  return [...diagnostics].sort((a, b) => {
    const [af, al, ac] = key(a);
    const [bf, bl, bc] = key(b);
    return (af < bf ? -1 : af > bf ? 1 : 0) || al - bl || ac - bc || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0) || (a.message < b.message ? -1 : 1);
  });
}

/** The project does not build. Carries every finding; the command turns it into an error with exit code 3. */
export class CompileError extends Error {
  override readonly name = "CompileError";
  readonly diagnostics: readonly Diagnostic[];

  constructor(diagnostics: readonly Diagnostic[]) {
    super(diagnostics[0]?.message ?? "the project does not build");
    this.diagnostics = diagnostics;
  }
}
