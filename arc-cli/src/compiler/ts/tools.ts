//! Finds what is marked as a tool, and everything that stops it from being one.
//!
//! Marks are resolved by symbol, so aliases, namespace imports and re-exports of `@aria/sdk` count and a local function
//! that happens to be called `tool` does not.

import ts from "typescript";

import { unwrap } from "./literal.ts";
import { proseOf, returnsOf } from "./comment.ts";
import { COMPOSITES, CompositeFinder, ownerId } from "./composites.ts";
import { OptionSource } from "./options.ts";
import { isOwn, isSdkSymbol, projectPath, spanOf, type Reporter } from "./place.ts";
import { TypeReader } from "./types.ts";
import { UseFinder } from "./uses.ts";
import type { OptionLiteral } from "../options.ts";
import type { Access, FoundAria, FoundTool, Mark } from "../oracle.ts";
import type { Shapes } from "../shape.ts";

interface Export {
  readonly file: string;
  readonly name: string;
}

export class ToolFinder {
  readonly tools: FoundTool[] = [];
  readonly aria: FoundAria[] = [];
  readonly composites: CompositeFinder;
  readonly marks: Mark[] = [];
  readonly #program: ts.Program;
  readonly #checker: ts.TypeChecker;
  readonly #reporter: Reporter;
  /** Where a declaration can be reached from outside: the first root file that exports it. */
  readonly #exports = new Map<ts.Node, Export>();
  readonly #onlyExported: boolean;
  readonly #options: OptionSource;
  readonly #uses: UseFinder;

  /** `onlyExported`: the project names its entry, so what the entry does not export is left alone. */
  constructor(program: ts.Program, reporter: Reporter, roots: readonly string[], onlyExported: boolean) {
    this.#program = program;
    this.#checker = program.getTypeChecker();
    this.#reporter = reporter;
    this.#onlyExported = onlyExported;
    this.#options = new OptionSource(this.#checker, reporter);
    this.#uses = new UseFinder(program, reporter);
    this.composites = new CompositeFinder({ program, reporter, options: this.#options, onlyExported, isExported: (node) => this.#exports.has(node), holder: (node) => this.#holder(node) });
    for (const root of roots) this.#collectExports(root);
  }

  run(): void {
    for (const source of this.#program.getSourceFiles()) {
      if (isOwn(this.#reporter.root, source)) this.#visit(source);
    }
  }

  #collectExports(root: string): void {
    const source = this.#program.getSourceFile(root);
    const module = source && this.#checker.getSymbolAtLocation(source);
    if (!source || !module) return;
    for (const exported of this.#checker.getExportsOfModule(module)) {
      const real = (exported.flags & ts.SymbolFlags.Alias) !== 0 ? this.#checker.getAliasedSymbol(exported) : exported;
      for (const declaration of real.declarations ?? []) {
        const place = { file: projectPath(this.#reporter.root, source.fileName), name: exported.name };
        const known = this.#exports.get(declaration);
        // The file that declares it is the better address than one that passes it on.
        if (!known || declaration.getSourceFile() === source) this.#exports.set(declaration, place);
      }
    }
  }

  #visit(node: ts.Node): void {
    if (ts.isParameter(node)) this.#refuseParameterDecorators(node);
    else if (ts.canHaveDecorators(node)) this.#decorators(node);
    if (ts.isCallExpression(node)) this.#call(node);
    ts.forEachChild(node, (child) => this.#visit(child));
  }

  #call(node: ts.CallExpression): void {
    if (this.#isMark(node.expression, "defineTool")) this.#definition(node);
    else if (this.#isMark(node.expression, "defineAria")) this.aria.push({ span: spanOf(this.#reporter.root, node.expression), options: this.#options.read(node.arguments[0]) });
    for (const [kind, name] of COMPOSITES) if (this.#isMark(node.expression, name)) this.composites.definition(kind, name, node);
  }

  #isMark(expression: ts.Expression, name: string): boolean {
    const target = unwrap(expression);
    const at = ts.isPropertyAccessExpression(target) ? target.name : target;
    return isSdkSymbol(this.#checker, this.#checker.getSymbolAtLocation(at), name);
  }

  #refuseParameterDecorators(node: ts.ParameterDeclaration): void {
    for (const modifier of node.modifiers ?? []) {
      if (ts.isDecorator(modifier)) this.#reporter.report("ARC1040", modifier, "parameters cannot be decorated", "describe the member of the input type in its doc comment");
    }
  }

  #decorators(node: ts.HasDecorators): void {
    for (const decorator of ts.getDecorators(node) ?? []) {
      const expression = unwrap(decorator.expression);
      const call = ts.isCallExpression(expression) ? expression : undefined;
      const target = call ? call.expression : expression;
      const [isTool, isAria] = [this.#isMark(target, "tool"), this.#isMark(target, "aria")];
      // Schemas check each call, so their decorator stays in the code.
      const works = call?.arguments[0] && ["input", "output"].some((name) => this.#checker.getTypeAtLocation(call.arguments[0] as ts.Node).getProperty(name));
      const composite = COMPOSITES.find(([kind]) => this.#isMark(target, kind))?.[0];
      if ((isTool && !works) || isAria || composite) this.marks.push({ file: projectPath(this.#reporter.root, node.getSourceFile().fileName), start: decorator.getStart(), end: decorator.getEnd() });
      if (isTool) this.#toolDecorator(decorator, node, call);
      else if (isAria) this.#ariaDecorator(decorator, node, call);
      else if (composite) this.composites.decorator(composite, decorator, node, call);
    }
  }

  #ariaDecorator(decorator: ts.Decorator, node: ts.HasDecorators, call: ts.CallExpression | undefined): void {
    if (!ts.isClassDeclaration(node) && !ts.isClassExpression(node)) {
      this.#reporter.report("ARC1041", decorator, "@aria belongs on a class");
      return;
    }
    this.aria.push({ span: spanOf(this.#reporter.root, decorator), options: this.#options.read(call?.arguments[0]) });
  }

  #toolDecorator(decorator: ts.Decorator, node: ts.HasDecorators, call: ts.CallExpression | undefined): void {
    if (!ts.isMethodDeclaration(node) || !ts.isClassLike(node.parent)) {
      this.#reporter.report("ARC1041", decorator, "@tool belongs on a method", "for a function use defineTool");
      return;
    }
    const access = this.#methodAccess(node, node.parent);
    if (!access) return;
    const symbol = this.#checker.getSymbolAtLocation(node.name);
    const signatures = symbol ? this.#checker.getTypeOfSymbol(symbol).getCallSignatures() : [];
    this.#tool({
      sourceName: access.member,
      nameNode: node.name,
      access,
      options: this.#options.read(call?.arguments[0], ["input", "output"]),
      schemas: call?.arguments[0],
      signatures,
      symbol,
      fallback: [],
      owner: ownerId(node.parent),
      code: [node, this.#reachable(node.parent)],
    });
  }

  /** How the method is reached, or nothing after saying why it cannot be. */
  #methodAccess(method: ts.MethodDeclaration, declared: ts.ClassLikeDeclaration): Access | undefined {
    const owner = this.#reachable(declared);
    const place = this.#exportOf(owner);
    if (!place) {
      if (!this.#onlyExported) this.#reporter.report("ARC1043", owner.name ?? method.name, `class ${owner.name?.text ?? "(anonymous)"} has a tool and is not exported`, "write `export class`");
      return undefined;
    }
    const flags = ts.getCombinedModifierFlags(method);
    const hidden = ts.ModifierFlags.Private | ts.ModifierFlags.Protected | ts.ModifierFlags.Abstract;
    if ((flags & hidden) !== 0 || ts.isPrivateIdentifier(method.name)) {
      this.#reporter.report("ARC1042", method.name, `${method.name.getText()} cannot be called from outside its class`, "make it a public method with a body");
      return undefined;
    }
    if (!ts.isIdentifier(method.name) && !ts.isStringLiteral(method.name)) {
      this.#reporter.report("ARC1053", method.name, "the name of this method is computed");
      return undefined;
    }
    const isStatic = (flags & ts.ModifierFlags.Static) !== 0;
    if (!isStatic && !this.#canBeMade(owner, method)) return undefined;
    return { file: place.file, exportName: place.name, kind: isStatic ? "static" : "instance", member: method.name.text };
  }

  /** The class a tool is called on: the one that declares it, or else the only exported class that inherits it. */
  #reachable(owner: ts.ClassLikeDeclaration): ts.ClassLikeDeclaration {
    const isAbstract = (node: ts.Declaration): boolean => (ts.getCombinedModifierFlags(node) & ts.ModifierFlags.Abstract) !== 0;
    if (this.#exportOf(owner) && !isAbstract(owner)) return owner;
    const heirs = [...this.#exports.keys()].filter((node): node is ts.ClassDeclaration => ts.isClassDeclaration(node) && !isAbstract(node) && this.#inherits(node, owner));
    const [heir] = heirs;
    return heir && heirs.length === 1 ? heir : owner;
  }

  #inherits(node: ts.ClassDeclaration, from: ts.ClassLikeDeclaration): boolean {
    let bases = this.#checker.getTypeAtLocation(node).getBaseTypes() ?? [];
    // A class has one base, and classes that go in circles are an error of the language.
    for (let steps = 0; bases.length > 0 && steps < 100; steps += 1) {
      if (bases.some((base) => base.symbol?.declarations?.includes(from))) return true;
      bases = bases.flatMap((base) => base.getBaseTypes() ?? []);
    }
    return false;
  }

  #canBeMade(owner: ts.ClassLikeDeclaration, method: ts.MethodDeclaration): boolean {
    const name = owner.name?.text ?? "(anonymous)";
    if ((ts.getCombinedModifierFlags(owner) & ts.ModifierFlags.Abstract) !== 0) {
      this.#reporter.report("ARC1044", owner.name ?? method.name, `class ${name} is abstract, no instance can be made for a call`, "make the method static, or the class concrete");
      return false;
    }
    const symbol = owner.name ? this.#checker.getSymbolAtLocation(owner.name) : (owner as { symbol?: ts.Symbol }).symbol;
    const constructors = symbol ? this.#checker.getTypeOfSymbol(symbol).getConstructSignatures() : [];
    const free = constructors.length === 0 || constructors.some((signature) => this.#required(signature) === 0 && this.#isPublic(signature));
    if (!free) this.#reporter.report("ARC1044", owner.name ?? method.name, `class ${name} cannot be made without arguments`, "give the constructor's parameters defaults, or make the method static");
    return free;
  }

  #required(signature: ts.Signature): number {
    return signature.parameters.filter((parameter) => {
      const declaration = parameter.valueDeclaration;
      return declaration && ts.isParameter(declaration) && !declaration.questionToken && !declaration.initializer && !declaration.dotDotDotToken;
    }).length;
  }

  #isPublic(signature: ts.Signature): boolean {
    const flags = signature.declaration ? ts.getCombinedModifierFlags(signature.declaration as ts.Declaration) : 0;
    return (flags & (ts.ModifierFlags.Private | ts.ModifierFlags.Protected)) === 0;
  }

  #exportOf(node: ts.Node): Export | undefined {
    return this.#exports.get(node) ?? (ts.isClassExpression(node) ? this.#exports.get(this.#holder(node)) : undefined);
  }

  /** The variable declaration that an expression initialises, looking through parentheses and assertions. */
  #holder(node: ts.Node): ts.Node {
    let at = node.parent;
    while (ts.isParenthesizedExpression(at) || ts.isAsExpression(at) || ts.isSatisfiesExpression(at)) at = at.parent;
    return at;
  }

  #definition(call: ts.CallExpression): void {
    const holder = this.#holder(call);
    if (!ts.isVariableDeclaration(holder) || !ts.isIdentifier(holder.name) || !ts.isSourceFile(holder.parent.parent.parent)) {
      this.#reporter.report("ARC1052", call.expression, "defineTool must be assigned to a constant of the module", "export const name = defineTool({ … })");
      return;
    }
    const place = this.#exports.get(holder);
    if (!place) {
      if (!this.#onlyExported) this.#reporter.report("ARC1043", holder.name, `${holder.name.text} is a tool and is not exported`, "write `export const`");
      return;
    }
    const argument = call.arguments[0];
    const type = argument && this.#checker.getTypeAtLocation(argument);
    const run = type?.getProperty("run");
    if (!argument || !type || !run) return; // TypeScript has said that `run` is missing.
    const symbol = this.#checker.getSymbolAtLocation(holder.name);
    const signatures = this.#checker.getTypeOfSymbolAtLocation(run, argument).getCallSignatures();
    // `run: handler`: the function's own comment.
    const handler = signatures[0]?.declaration && (signatures[0].declaration as { readonly symbol?: ts.Symbol }).symbol;
    this.#tool({
      sourceName: holder.name.text,
      nameNode: holder.name,
      access: { file: place.file, exportName: place.name, kind: "definition", member: "" },
      options: this.#options.read(argument, ["run", "input", "output"]),
      schemas: argument,
      signatures,
      symbol,
      fallback: [run, handler],
      owner: undefined,
      code: [argument],
    });
  }

  #tool(found: {
    readonly sourceName: string;
    readonly nameNode: ts.Node;
    readonly access: Access;
    readonly options: readonly OptionLiteral[];
    /** The options as an expression: its `input` and `output` may be Standard Schema values. */
    readonly schemas: ts.Expression | undefined;
    readonly signatures: readonly ts.Signature[];
    readonly symbol: ts.Symbol | undefined;
    /** Where else a description may stand. */
    readonly fallback: readonly (ts.Symbol | undefined)[];
    readonly owner: string | undefined;
    /** What runs when it is called. */
    readonly code: readonly ts.Node[];
  }): void {
    const [signature, second] = found.signatures;
    if (!signature) return;
    if (second) {
      this.#reporter.report("ARC1050", found.nameNode, `${found.sourceName} has ${found.signatures.length} signatures`, "keep one, with a union where needed");
      return;
    }
    if ((signature.typeParameters?.length ?? 0) > 0) {
      this.#reporter.report("ARC1022", found.nameNode, `${found.sourceName} is generic, a caller cannot choose its type argument`, "write the concrete type");
      return;
    }
    const input = this.#schema(found.schemas, "input") ?? this.#input(signature, found.nameNode);
    const output = this.#schema(found.schemas, "output") ?? this.#output(signature, found.nameNode);
    if (!input || !output) return;
    const outputDescription = returnsOf(this.#checker, found.symbol);
    const described = proseOf(this.#checker, found.symbol);
    const fallback = found.fallback.map((symbol) => proseOf(this.#checker, symbol)).find((docs) => docs.description !== undefined);
    this.tools.push({
      sourceName: found.sourceName,
      span: spanOf(this.#reporter.root, found.nameNode),
      access: found.access,
      options: found.options,
      docs: { ...fallback, ...described },
      input: input.shapes,
      inputSpan: spanOf(this.#reporter.root, input.node),
      output: output.shapes,
      outputSpan: spanOf(this.#reporter.root, output.node),
      ...(outputDescription === "" ? {} : { outputDescription }),
      inputType: input.type && { opaque: input.type },
      outputType: { opaque: this.#checker.getAwaitedType(signature.getReturnType()) ?? signature.getReturnType() },
      owner: found.owner,
      uses: this.#uses.of(found.code),
    });
  }

  /** What a Standard Schema value in the options takes (input) or gives (output), by its type; nothing when there is none. */
  #schema(options: ts.Expression | undefined, side: "input" | "output"): { shapes: Shapes; node: ts.Node; type?: ts.Type } | undefined {
    const type = options && this.#checker.getTypeAtLocation(options);
    const option = type?.getProperty(side);
    if (!options || !option) return undefined;
    const declaration = option.valueDeclaration;
    const node = declaration && ts.isPropertyAssignment(declaration) ? declaration.initializer : (declaration ?? options);
    const types = ["~standard", "types", side].reduce<ts.Type | undefined>((at, name) => {
      const member = at && this.#checker.getNonNullableType(at).getProperty(name);
      return member && this.#checker.getTypeOfSymbolAtLocation(member, node);
    }, this.#checker.getTypeOfSymbolAtLocation(option, node));
    // TypeScript has said that it is no schema.
    return { shapes: types ? this.#reader().read([types], node) : { root: { kind: "json" }, named: new Map() }, node, ...(types && { type: types }) };
  }

  #input(signature: ts.Signature, at: ts.Node): { shapes: Shapes | undefined; node: ts.Node; type?: ts.Type } | undefined {
    const [parameter, surplus] = signature.parameters;
    if (!parameter) return { shapes: undefined, node: at };
    const declaration = parameter.valueDeclaration;
    const node = declaration && isOwn(this.#reporter.root, declaration.getSourceFile()) ? declaration : at;
    if (surplus) {
      this.#reporter.report("ARC1030", surplus.valueDeclaration ?? at, "a tool takes one object or nothing", "put the parameters into one object type");
      return undefined;
    }
    if (declaration && ts.isParameter(declaration) && declaration.dotDotDotToken) {
      this.#reporter.report("ARC1032", declaration, "a tool takes one object, not a list of arguments", "use a member of array type");
      return undefined;
    }
    const type = this.#checker.getTypeOfSymbolAtLocation(parameter, node);
    if ((type.flags & (ts.TypeFlags.Void | ts.TypeFlags.Undefined)) !== 0) return { shapes: undefined, node };
    const written = type.isUnion() && declaration && ts.isParameter(declaration) && (declaration.questionToken || declaration.initializer);
    const source = declaration && ts.isParameter(declaration) ? declaration.type : undefined;
    const taken = written ? this.#checker.getNonNullableType(type) : type;
    const shapes = this.#reader().read([taken], node, source);
    return { shapes, node: source ?? node, type: taken };
  }

  #output(signature: ts.Signature, at: ts.Node): { shapes: Shapes; node: ts.Node } | undefined {
    const { declaration } = signature;
    const own = declaration && isOwn(this.#reporter.root, declaration.getSourceFile());
    const source = own ? declaration.type : undefined;
    const written = source && ts.isTypeNode(source) ? source : undefined;
    const node = source ?? at;
    const results: ts.Type[] = [];
    const type = signature.getReturnType();
    for (const member of type.isUnion() && type.types.some((part) => this.#thenable(part)) ? type.types : [type]) {
      const settled = this.#settled(member, node);
      if (!settled) return undefined;
      results.push(settled);
    }
    return { shapes: this.#reader().read(results, node, written), node };
  }

  #thenable(type: ts.Type): boolean {
    return type.getProperty("then") !== undefined;
  }

  /** The value of a Promise; the type itself when it is none. */
  #settled(type: ts.Type, node: ts.Node): ts.Type | undefined {
    const { symbol } = type;
    const library = symbol?.declarations?.some((declaration) => this.#program.isSourceFileDefaultLibrary(declaration.getSourceFile())) ?? false;
    if (library && symbol.name === "Promise") return this.#checker.getTypeArguments(type as ts.TypeReference)[0];
    if (this.#thenable(type) && type.getProperty("then") && (type.flags & ts.TypeFlags.Any) === 0) {
      this.#reporter.report("ARC1033", node, "the result has a `then` and is no Promise", "await it inside the tool");
      return undefined;
    }
    if (library && /^(Async)?(Generator|Iterator|Iterable|IterableIterator|IteratorObject)(Object)?$/.test(symbol.name)) {
      this.#reporter.report("ARC1034", node, "a tool answers once, a generator many times", "collect the values into an array");
      return undefined;
    }
    return type;
  }

  #reader(): TypeReader {
    return new TypeReader(this.#program, this.#checker, this.#reporter);
  }
}
