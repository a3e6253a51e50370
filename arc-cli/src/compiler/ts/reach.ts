//! Which code of the project can run when a tool is called. Over-approximates: a function that is mentioned counts as called.

import ts from "typescript";

import { isOwn, isSdk, isSdkSymbol } from "./place.ts";

const DECLARING = ["defineTool", "defineAgent", "defineTeam", "definePipeline", "defineAria"] as const;

export class Reach {
  readonly calls: (ts.CallExpression | ts.NewExpression | ts.TaggedTemplateExpression)[] = [];
  /** What each parameter was seen to be given. */
  readonly bindings = new Map<ts.Node, ts.Expression[]>();
  /** Packages of which a value is used. */
  readonly packages = new Set<string>();
  readonly #program: ts.Program;
  readonly #checker: ts.TypeChecker;
  readonly #root: string;
  readonly #seen = new Set<ts.Node>();
  readonly #called = new Set<ts.Node>();
  readonly #queue: ts.Node[] = [];
  readonly #methods: Methods;

  constructor(program: ts.Program, root: string, methods: Methods) {
    this.#program = program;
    this.#checker = program.getTypeChecker();
    this.#root = root;
    this.#methods = methods;
  }

  /** A class stands for what makes an instance of it; anything else for itself. */
  from(code: readonly ts.Node[]): void {
    for (const node of code) {
      if (ts.isClassLike(node)) this.#instance(node);
      else this.#add(node);
      this.#module(node.getSourceFile());
    }
    for (let node = this.#queue.pop(); node; node = this.#queue.pop()) this.#visit(node);
  }

  #add(node: ts.Node): void {
    if (this.#seen.has(node)) return;
    this.#seen.add(node);
    this.#queue.push(node);
  }

  /** What a module does when it loads, and the modules it loads. */
  #module(source: ts.SourceFile): void {
    if (this.#seen.has(source) || !isOwn(this.#root, source)) return;
    this.#seen.add(source);
    for (const statement of source.statements) {
      if ((ts.isImportDeclaration(statement) && !statement.importClause?.isTypeOnly) || (ts.isExportDeclaration(statement) && !statement.isTypeOnly)) this.#import(statement.moduleSpecifier);
      else if (ts.isVariableStatement(statement)) for (const { initializer } of statement.declarationList.declarations) this.#loaded(initializer);
      else if (!ts.isDeclarationStatement(statement)) this.#loaded(statement);
    }
  }

  #import(specifier: ts.Expression | undefined): void {
    const module = specifier && this.#checker.getSymbolAtLocation(specifier);
    for (const declaration of module?.declarations ?? []) if (ts.isSourceFile(declaration)) this.#module(declaration);
  }

  /** Functions are not run by being made, and other declarations are not this tool's. */
  #loaded(node: ts.Node | undefined): void {
    if (!node || ts.isFunctionLike(node) || ts.isClassLike(node)) return;
    if (ts.isCallExpression(node) && DECLARING.some((name) => isSdkSymbol(this.#checker, this.#symbol(node.expression), name))) return;
    if (ts.isObjectLiteralExpression(node) || ts.isArrayLiteralExpression(node)) ts.forEachChild(node, (child) => this.#loaded(ts.isPropertyAssignment(child) ? child.initializer : child));
    else this.#add(node);
  }

  #visit(node: ts.Node): void {
    if (ts.isTypeNode(node) || ts.isDecorator(node)) return;
    if (ts.isCallExpression(node) || ts.isNewExpression(node) || ts.isTaggedTemplateExpression(node)) this.#call(node);
    if (ts.isIdentifier(node) || ts.isPrivateIdentifier(node)) this.#name(node);
    if (ts.isFunctionDeclaration(node) || ts.isClassDeclaration(node)) {
      // A declaration inside other code counts when it is mentioned, unless it was what was asked for.
      if (!this.#seen.has(node)) return;
    }
    if (ts.isClassLike(node)) return this.#class(node);
    ts.forEachChild(node, (child) => this.#visit(child));
  }

  #symbol(node: ts.Node): ts.Symbol | undefined {
    const at = ts.isPropertyAccessExpression(node) ? node.name : node;
    const shorthand = ts.isShorthandPropertyAssignment(at.parent) ? this.#checker.getShorthandAssignmentValueSymbol(at.parent) : undefined;
    const symbol = shorthand ?? this.#checker.getSymbolAtLocation(at);
    return symbol && (symbol.flags & ts.SymbolFlags.Alias) !== 0 ? this.#checker.getAliasedSymbol(symbol) : symbol;
  }

  #name(node: ts.Identifier | ts.PrivateIdentifier): void {
    for (const declaration of this.#symbol(node)?.declarations ?? []) {
      const source = declaration.getSourceFile();
      if (isSdk(source)) continue;
      if (isOwn(this.#root, source)) this.#declared(declaration);
      else this.#foreign(source, declaration);
    }
  }

  #foreign(source: ts.SourceFile, declaration: ts.Node): void {
    const [, name] = /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(source.fileName) ?? [];
    const types = ts.isInterfaceDeclaration(declaration) || ts.isTypeAliasDeclaration(declaration) || ts.isTypeParameterDeclaration(declaration);
    if (name === undefined || types || this.#program.isSourceFileDefaultLibrary(source)) return;
    if (name !== "bun-types" && name !== "@types/node" && name !== "@types/bun" && name !== "undici-types" && name !== "typescript") this.packages.add(name.replace(/^@types\//, ""));
  }

  #declared(declaration: ts.Declaration): void {
    if (ts.isVariableDeclaration(declaration) || ts.isPropertyDeclaration(declaration) || ts.isPropertyAssignment(declaration)) {
      if (declaration.initializer) this.#add(declaration.initializer);
    } else if (ts.isBindingElement(declaration)) {
      for (let at: ts.Node = declaration; ; at = at.parent) {
        if (ts.isVariableDeclaration(at) && at.initializer) this.#add(at.initializer);
        if (!ts.isBindingElement(at) && !ts.isObjectBindingPattern(at) && !ts.isArrayBindingPattern(at)) break;
      }
    } else if (ts.isClassLike(declaration)) {
      this.#add(declaration);
    } else if ((ts.isMethodSignature(declaration) || ts.isPropertySignature(declaration) || ts.isMethodDeclaration(declaration)) && !(declaration as { body?: ts.Node }).body) {
      for (const method of this.#methods.get(declaration.name.getText()) ?? []) if (this.#implements(method, declaration.parent)) this.#add(method);
    } else if (ts.isFunctionLike(declaration)) {
      this.#add(declaration);
      this.#override(declaration);
    }
  }

  /** A method of a base class may be another one on the object at hand. */
  #override(declaration: ts.SignatureDeclaration): void {
    if (!ts.isMethodDeclaration(declaration)) return;
    for (const method of this.#methods.get(declaration.name.getText()) ?? []) if (method !== declaration && this.#implements(method, declaration.parent)) this.#add(method);
  }

  #implements(method: ts.ClassElement, type: ts.Node): boolean {
    if (!ts.isClassLike(type) && !ts.isInterfaceDeclaration(type) && !ts.isTypeLiteralNode(type)) return false;
    return this.#checker.isTypeAssignableTo(this.#checker.getTypeAtLocation(method.parent), this.#checker.getTypeAtLocation(type));
  }

  /** A class that is mentioned may be made and handed on, so all of it counts but its tools. */
  #class(node: ts.ClassLikeDeclaration): void {
    this.#instance(node);
    for (const member of node.members) {
      const isTool = ts.canHaveDecorators(member) && (ts.getDecorators(member) ?? []).some(({ expression }) => isSdkSymbol(this.#checker, this.#symbol(ts.isCallExpression(expression) ? expression.expression : expression), "tool"));
      if (!isTool && (ts.isMethodDeclaration(member) || ts.isAccessor(member))) this.#add(member);
    }
  }

  #instance(node: ts.ClassLikeDeclaration): void {
    for (const clause of node.heritageClauses ?? []) {
      if (clause.token === ts.SyntaxKind.ExtendsKeyword) for (const { expression } of clause.types) this.#base(expression);
    }
    for (const member of node.members) {
      if (ts.isPropertyDeclaration(member) && member.initializer) this.#add(member.initializer);
      if (ts.isConstructorDeclaration(member) || ts.isClassStaticBlockDeclaration(member)) this.#add(member);
    }
  }

  #base(expression: ts.Expression): void {
    const declaration = this.#symbol(expression)?.valueDeclaration;
    if (declaration && ts.isClassLike(declaration) && isOwn(this.#root, declaration.getSourceFile())) this.#instance(declaration);
    else this.#visit(expression);
  }

  #call(node: ts.CallExpression | ts.NewExpression | ts.TaggedTemplateExpression): void {
    if (this.#called.has(node)) return;
    this.#called.add(node);
    this.calls.push(node);
    if (ts.isTaggedTemplateExpression(node)) return;
    const { declaration } = this.#checker.getResolvedSignature(node) ?? {};
    const given = node.arguments ?? [];
    if (!declaration || !isOwn(this.#root, declaration.getSourceFile()) || given.some(ts.isSpreadElement)) return;
    for (const [i, parameter] of declaration.parameters.entries()) {
      const argument = given[i] ?? (ts.isParameter(parameter) ? parameter.initializer : undefined);
      if (argument && ts.isParameter(parameter) && !parameter.dotDotDotToken) this.bindings.set(parameter, [...(this.bindings.get(parameter) ?? []), argument]);
    }
  }
}

/** Methods of the project's own classes by name. */
export type Methods = ReadonlyMap<string, readonly ts.ClassElement[]>;

export function methodsOf(program: ts.Program, root: string): Methods {
  const found = new Map<string, ts.ClassElement[]>();
  const collect = (node: ts.Node): void => {
    if (ts.isClassElement(node) && node.name && (ts.isMethodDeclaration(node) || ts.isPropertyDeclaration(node))) {
      const name = node.name.getText();
      const known = found.get(name);
      if (known) known.push(node);
      else found.set(name, [node]);
    }
    ts.forEachChild(node, collect);
  };
  for (const source of program.getSourceFiles()) if (isOwn(root, source)) collect(source);
  return found;
}
