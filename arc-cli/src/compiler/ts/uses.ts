//! What the code of a tool asks of the device: tables, collections, tools, hosts, secrets, programs.
//!
//! Every call is resolved by the type checker, so aliases, re-exports and wrappers count and look-alikes do not. Code counts when
//! it can be reached: what a tool refers to, what that refers to, and what its modules do when they load. Code of packages is
//! not read.

import ts from "typescript";

import type { UnknownUse, Use, Uses } from "../oracle.ts";
import { parseToken } from "../token.ts";
import { isOwn, isSdk, spanOf, type Reporter } from "./place.ts";
import { methodsOf, Reach, type Methods } from "./reach.ts";
import { Texts, type Text } from "./texts.ts";

/** What each method of a table or collection needs: the mode to ask for, and a weaker one that may do. */
const METHODS: Readonly<Record<string, Readonly<Record<string, readonly [mode: string, enough?: string]>>>> = {
  Kv: { get: ["ro"], entry: ["ro"], list: ["ro"], page: ["ro"], watch: ["ro"], append: ["append"], put: ["rw", "append"], cas: ["rw", "append"], delete: ["rw"] },
  Vectors: { search: ["ro"], upsert: ["rw", "append"], delete: ["rw"] },
};
const SPAWNING = new Set(["spawn", "spawnSync", "exec", "execSync", "execFile", "execFileSync", "fork"]);

type Call = ts.CallExpression | ts.NewExpression | ts.TaggedTemplateExpression;

export class UseFinder {
  readonly #program: ts.Program;
  readonly #checker: ts.TypeChecker;
  readonly #reporter: Reporter;
  #methods: Methods | undefined;

  constructor(program: ts.Program, reporter: Reporter) {
    this.#program = program;
    this.#checker = program.getTypeChecker();
    this.#reporter = reporter;
  }

  /** `code`: what runs when the tool is called. */
  of(code: readonly ts.Node[]): Uses {
    this.#methods ??= methodsOf(this.#program, this.#reporter.root);
    const reach = new Reach(this.#program, this.#reporter.root, this.#methods);
    reach.from(code);
    const texts = new Texts(this.#checker, this.#reporter.root, reach.bindings);
    const known: Use[] = [];
    const unknown: UnknownUse[] = [];
    for (const call of reach.calls) this.#call(call, texts, known, unknown);
    return { known, unknown, packages: [...reach.packages].sort() };
  }

  #call(call: Call, texts: Texts, known: Use[], unknown: UnknownUse[]): void {
    const declaration = this.#checker.getResolvedSignature(call)?.declaration;
    const span = spanOf(this.#reporter.root, ts.isTaggedTemplateExpression(call) ? call.tag : call.expression);
    if (!declaration) return;
    const source = declaration.getSourceFile();
    const name = nameOf(declaration);
    const first = ts.isTaggedTemplateExpression(call) ? undefined : call.arguments?.[0];
    if (isSdk(source)) this.#sdk(call, declaration, name, first, span, texts, known, unknown);
    else if (!source.isDeclarationFile || isOwn(this.#reporter.root, source)) return;
    else if (isFetch(declaration, name) || isHttp(source, name)) this.#net(first, span, texts, known, unknown);
    else if (this.#isSpawn(call, source, name)) known.push({ kind: "spawn", span, why: name === "" ? "$" : name });
  }

  #sdk(call: Call, declaration: ts.Node, name: string, first: ts.Expression | undefined, span: Use["span"], texts: Texts, known: Use[], unknown: UnknownUse[]): void {
    const parent = ts.isInterfaceDeclaration(declaration.parent) ? declaration.parent.name.text : "";
    const needs = Object.hasOwn(METHODS, parent) ? METHODS[parent]?.[name] : undefined;
    if (needs) {
      const kind = parent === "Kv" ? "kv" : "vector";
      const names = texts.handles(receiver(call), kind);
      const [mode, enough] = needs;
      for (const text of names ?? [undefined]) {
        const path = text && pathOf(text);
        if (path === undefined) unknown.push({ kind, span, what: `which ${kind === "kv" ? "table" : "collection"} ${name} is called on` });
        else this.#token(`${kind}:${path}:${mode}`, enough === undefined ? undefined : `${kind}:${path}:${enough}`, span, name, known);
      }
    } else if (name === "call" && this.#isToolsCall(declaration)) {
      for (const text of (first && texts.of(first)) ?? [undefined]) {
        if (text && "exact" in text) this.#token(`tool:${text.exact}`, undefined, span, "tools.call", known);
        else unknown.push({ kind: "tool", span, what: "which tool is called" });
      }
    } else if (name === "secret" && ts.isFunctionDeclaration(declaration)) {
      for (const text of (first && texts.of(first)) ?? [undefined]) {
        if (text && "exact" in text) known.push({ kind: "secret", name: text.exact, span });
        else unknown.push({ kind: "secret", span, what: "which secret is meant" });
      }
    }
  }

  #token(text: string, enough: string | undefined, span: Use["span"], why: string, known: Use[]): void {
    const parsed = parseToken(text);
    if ("error" in parsed) {
      this.#reporter.add({ id: "ARC1060", message: `${why} needs ${JSON.stringify(text)}, which is not a token: ${parsed.error}`, span });
      return;
    }
    const weaker = enough === undefined ? undefined : parseToken(enough);
    known.push({ kind: "token", token: parsed.canonical, ...(weaker && "canonical" in weaker ? { enough: weaker.canonical } : {}), span, why });
  }

  #net(first: ts.Expression | undefined, span: Use["span"], texts: Texts, known: Use[], unknown: UnknownUse[]): void {
    for (const text of (first && texts.urls(first)) ?? [undefined]) {
      const host = text && hostOf(text);
      if (host === undefined) unknown.push({ kind: "net", span, what: "which host is asked" });
      else if (host !== "") known.push({ kind: "host", host, span });
    }
  }

  #isToolsCall(declaration: ts.Node): boolean {
    const holder = ts.isTypeLiteralNode(declaration.parent) ? declaration.parent.parent : undefined;
    return holder !== undefined && ts.isVariableDeclaration(holder) && ts.isIdentifier(holder.name) && holder.name.text === "tools";
  }

  #isSpawn(call: Call, source: ts.SourceFile, name: string): boolean {
    if (/\/child_process(\.d\.ts|\.ts)$/.test(source.fileName)) return SPAWNING.has(name);
    if (!source.fileName.includes("/bun-types/")) return false;
    if (ts.isTaggedTemplateExpression(call)) {
      const tag = this.#checker.getSymbolAtLocation(ts.isPropertyAccessExpression(call.tag) ? call.tag.name : call.tag);
      const real = tag && (tag.flags & ts.SymbolFlags.Alias) !== 0 ? this.#checker.getAliasedSymbol(tag) : tag;
      return real?.name === "$";
    }
    return name === "spawn" || name === "spawnSync";
  }
}

function receiver(call: Call): ts.Expression | undefined {
  const target = ts.isTaggedTemplateExpression(call) ? call.tag : call.expression;
  return ts.isPropertyAccessExpression(target) || ts.isElementAccessExpression(target) ? target.expression : target;
}

function nameOf(declaration: ts.Node): string {
  const { name } = declaration as { readonly name?: ts.Node };
  return name && (ts.isIdentifier(name) || ts.isStringLiteral(name)) ? name.text : "";
}

/** The global function, also as Bun's or with its type as an interface. */
function isFetch(declaration: ts.Node, name: string): boolean {
  if (name === "fetch" && ts.isFunctionDeclaration(declaration)) return true;
  const around = declaration.parent;
  if (ts.isVariableDeclaration(around) && around.name.getText() === "fetch") return true;
  return ts.isCallSignatureDeclaration(declaration) && ts.isInterfaceDeclaration(around) && /fetch/i.test(around.name.text);
}

function isHttp(source: ts.SourceFile, name: string): boolean {
  return (name === "request" || name === "get") && /\/https?\.d\.ts$/.test(source.fileName);
}

/** The path of a table as far as it is known: whole, or the part before the last colon that is sure. */
function pathOf(text: Text): string | undefined {
  if ("exact" in text) return text.exact;
  const end = text.head.lastIndexOf(":");
  return end > 0 ? text.head.slice(0, end) : undefined;
}

/** `host` for port 443, else `host:port`; empty for what needs no network. */
function hostOf(text: Text): string | undefined {
  const whole = "exact" in text ? text.exact : /^[a-z]+:\/\/[^/?#]+(?=[/?#])/i.exec(text.head)?.[0];
  if (whole === undefined) return undefined;
  if (/^(data|blob|file):/i.test(whole)) return "";
  if (!URL.canParse(whole)) return undefined;
  const { protocol, hostname, port } = new URL(whole);
  if (protocol !== "http:" && protocol !== "https:") return "";
  const number = port === "" ? (protocol === "http:" ? "80" : "443") : port;
  return number === "443" ? hostname : `${hostname}:${number}`;
}
