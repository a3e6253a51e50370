//! docs/reference, made from what it describes: commands from their table, errors from their explanations, the SDK and the manifest
//! from their types, configuration from the structs that read it. `UPDATE=1 bun test tests/tidy/reference.test.ts` writes it.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";

import { globals } from "./src/cli.ts";
import type { AnyCommand } from "./src/command.ts";
import { isGroup, sections } from "./src/commands.ts";
import { Exit } from "./src/errors.ts";
import { allExplanations, type Explanation } from "./src/explanations.ts";
import { commandHelp } from "./src/help.ts";
import { style } from "./src/ui.ts";

const repository = join(import.meta.dir, "..");
const text = (path: string): string => readFileSync(join(repository, path), "utf8");
const made = (from: string): string => `<!-- Made from ${from} by arc-cli/reference.ts; edit those. -->\n`;

/** Every page by its file name below docs/reference. */
export async function reference(): Promise<Map<string, string>> {
  return new Map([
    ["commands.md", await commandsPage()],
    ["errors.md", await errorsPage()],
    ["sdk.md", sdkPage()],
    ["manifest.md", manifestPage()],
    ["config.md", configPage()],
  ]);
}

async function commandsPage(): Promise<string> {
  const parts = [made("the command table"), "# Commands\n", "What `arc <command> --help` prints. `--json` output has a schema each in [arc-cli/schemas](../../arc-cli/schemas).\n"];
  for (const { title, commands } of sections) {
    parts.push(`## ${title}\n`);
    for (const entry of commands) {
      const loaded = await entry.load();
      const all: (readonly [string, AnyCommand])[] = isGroup(loaded) ? loaded.commands.map((inner) => [`arc ${entry.name} ${inner.name}`, inner] as const) : [[`arc ${entry.name}`, loaded]];
      for (const [path, command] of all) parts.push(`### ${path}\n`, fence("text", commandHelp(path, command, globals, style(false))));
    }
  }
  return `${parts.join("\n")}`;
}

async function errorsPage(): Promise<string> {
  const all = [...(await allExplanations())].sort((a, b) => (a.code < b.code ? -1 : 1));
  const exits = Object.entries(Exit).map(([name, code]) => `| ${code} | ${name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)} |`);
  return [made("the explanations"), "# Errors\n", "What `arc explain CODE` prints. ARC1xxx: compiler, ARC2xxx: command line, ARC3xxx: the way to a device; words in capitals: reasons and outcomes a device gives.\n", "## Exit codes\n", "| code | |\n|---|---|", `${exits.join("\n")}\n`, "`arc exec` passes the program's own code through.\n", ...all.map(errorEntry)].join("\n");
}

function errorEntry({ code, title, text: long, fix }: Explanation): string {
  return `## ${code}: ${title}\n\n${long}\n${fix.length === 0 ? "" : `\n${fence("sh", fix.join("\n"))}`}`;
}

/** The exported declarations of the SDK, without bodies. */
function sdkPage(): string {
  const index = parse("arc-cli/sdk/src/index.ts");
  const parts = [made("arc-cli/sdk/src"), "# SDK\n", 'Everything `@aria/sdk` exports. Each helper works under its token; a failure is an `AriaError` with the reason of the device as `reason`.\n'];
  const files = new Map<string, Set<string>>();
  index.forEachChild((node) => {
    if (!ts.isExportDeclaration(node) || node.moduleSpecifier === undefined || node.exportClause === undefined || !ts.isNamedExports(node.exportClause)) return;
    const file = (node.moduleSpecifier as ts.StringLiteral).text.replace("./", "arc-cli/sdk/src/");
    const names = files.get(file) ?? new Set();
    for (const item of node.exportClause.elements) names.add((item.propertyName ?? item.name).text);
    files.set(file, names);
  });
  for (const [file, names] of files) {
    const source = parse(file);
    const found = source.statements.filter((node) => namesOf(node).some((name) => names.has(name)));
    parts.push(`## ${[...names].join(", ")}\n`, fence("ts", found.map((node) => declaration(node, source)).join("\n\n")));
  }
  return parts.join("\n");
}

function manifestPage(): string {
  const source = parse("arc-cli/src/bundle/manifest.ts");
  const found = source.statements.filter((node) => (ts.isInterfaceDeclaration(node) || ts.isTypeAliasDeclaration(node)) && isExported(node));
  return [made("arc-cli/src/bundle/manifest.ts"), "# Manifest\n", "The config blob of a bundle. Keys stand in this order, unknown keys are refused; bounds and digests are in [formats](../formats.md).\n", fence("ts", found.map((node) => declaration(node, source)).join("\n\n"))].join("\n");
}

const parse = (path: string): ts.SourceFile => ts.createSourceFile(path, text(path), ts.ScriptTarget.ESNext, true);
const isExported = (node: ts.Statement): boolean => ts.canHaveModifiers(node) && (ts.getModifiers(node) ?? []).some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword);

function namesOf(node: ts.Statement): string[] {
  if (ts.isVariableStatement(node)) return node.declarationList.declarations.map(({ name }) => name.getText());
  return (ts.isFunctionDeclaration(node) || ts.isClassDeclaration(node) || ts.isInterfaceDeclaration(node) || ts.isTypeAliasDeclaration(node)) && node.name !== undefined ? [node.name.text] : [];
}

/** Doc comment and signature; of a class what is public. */
function declaration(node: ts.Statement, source: ts.SourceFile): string {
  const whole = source.text.slice(node.getFullStart(), node.end).trim().replace(/^(?:\/\/[^\n]*\n)+/, "");
  if (ts.isFunctionDeclaration(node) && node.body !== undefined) return `${source.text.slice(startOf(node, source), node.body.pos).trim()};`;
  if (ts.isVariableStatement(node)) return whole.replace(/ = [\s\S]*$/, ";");
  if (!ts.isClassDeclaration(node)) return whole;
  const hidden = (member: ts.ClassElement): boolean => (member.name !== undefined && ts.isPrivateIdentifier(member.name)) || (ts.canHaveModifiers(member) && (ts.getModifiers(member) ?? []).some(({ kind }) => kind === ts.SyntaxKind.PrivateKeyword));
  const members = node.members.filter((member) => !hidden(member)).map((member) => {
    const body = "body" in member ? (member.body as ts.Node | undefined) : undefined;
    return `  ${source.text.slice(startOf(member, source), body?.pos ?? member.end).trim().replace(/;?$/, ";")}`;
  });
  const head = source.text.slice(startOf(node, source), node.members.pos).trim();
  return `${head}\n${members.join("\n")}\n}`;
}

/** Where its doc comment begins, or itself. */
function startOf(node: ts.Node, source: ts.SourceFile): number {
  const docs = ts.getJSDocCommentsAndTags(node).filter(ts.isJSDoc);
  return docs.at(-1)?.pos ?? node.getStart(source);
}

function configPage(): string {
  const project = [
    ["bundle.name", "name of the bundle: a-z, 0-9 and -, beginning with a letter"],
    ["bundle.version", "semantic version; absent: 0.1.0"],
    ["bundle.description", "one line"],
    ["bundle.license", "SPDX expression"],
    ["bundle.authors", "array of texts"],
    ["bundle.entry", "the one source that exports the tools; absent: every source"],
    ["build.include", 'patterns of the sources; absent: ["src/**/*.ts"]'],
    ["registry.shelf", "where `arc install` and `arc publish` look: oci://… or dir:…"],
    ["dependencies.NAME", "version range of a bundle this one needs"],
    ["build.exclude", "patterns of what is none; absent: tests and .d.ts files"],
  ];
  const rows = project.map(([key, meaning]) => `| \`${key}\` | ${meaning} |`).join("\n");
  return [
    made("runtime/ariad/src/config.rs and quilt/quiltd/src/config.rs"),
    "# Configuration\n\nUnknown keys are errors everywhere.\n",
    "## arc.toml, the project\n",
    `| key | meaning |\n|---|---|\n${rows}\n`,
    "## Environment of arc\n",
    "| variable | meaning |\n|---|---|\n| `ARC_CONTEXT` | device to talk to, as --context |\n| `ARC_CONFIG_DIR` | where contexts and keys lie; absent: the XDG directory |\n| `NO_COLOR`, `FORCE_COLOR`, `CLICOLOR`, `CLICOLOR_FORCE` | colours |\n| `CI` | not empty: no progress bars |\n",
    "## aria.toml, the runtime\n",
    structs("runtime/ariad/src/config.rs", "Config"),
    "## quilt.toml, the engine\n",
    structs("quilt/quiltd/src/config.rs", "File"),
  ].join("\n");
}

/** Tables of a serde struct and the structs below it: `[table]`, key, type, doc comment. */
function structs(path: string, root: string): string {
  const source = text(path);
  const fieldsOf = (name: string): { key: string; type: string; doc: string }[] => {
    const body = new RegExp(`struct ${name} \\{\\n([\\s\\S]*?)\\n\\}`).exec(source)?.[1];
    if (body === undefined) return [];
    let doc = "";
    return body.split("\n").flatMap((line) => {
      const comment = /^\s*\/\/\/ (.*)/.exec(line)?.[1];
      const field = /^\s*(?:pub(?:\(crate\))? )?([a-z_0-9]+): (.*),$/.exec(line);
      if (comment !== undefined) doc = `${doc} ${comment}`.trim();
      if (field === null) return [];
      const found = { key: field[1] ?? "", type: field[2] ?? "", doc };
      doc = "";
      return [found];
    });
  };
  const parts: string[] = [];
  const walk = (name: string, table: string): void => {
    const fields = fieldsOf(name);
    const inner = (type: string): string => type.replace(/^(?:Option|Vec)<(.*)>$/, "$1");
    const plain = fields.filter(({ type }) => fieldsOf(inner(type)).length === 0);
    if (plain.length > 0) parts.push(`\`${table}\`\n\n| key | type | |\n|---|---|---|\n${plain.map(({ key, type, doc }) => `| \`${key}\` | \`${type.replaceAll("|", "\\|")}\` | ${doc.replaceAll("|", "\\|")} |`).join("\n")}\n`);
    for (const { key, type } of fields) {
      const path = `${table === "top" ? "" : `${table.slice(1, -1)}.`}${key}`;
      if (fieldsOf(inner(type)).length > 0) walk(inner(type), type.startsWith("Vec<") ? `[[${path}]]` : `[${path}]`);
    }
  };
  walk(root, "top");
  return parts.join("\n");
}

const fence = (language: string, body: string): string => `\`\`\`${language}\n${body.trim()}\n\`\`\`\n`;
