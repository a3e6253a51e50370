//! Declaring tools: `@tool` on a method, or `defineTool` around a function. Both give the same manifest entry.
//!
//! arc reads these from the source and its types and never runs them to learn anything, so every option is a
//! literal. At run time they return what they were given.

import { guarded, type InferInput, type InferOutput, type Schemas, type StandardSchema } from "./standard.ts";

/** When a person has to agree before the tool runs. */
export type Approval = "never" | "always" | "policy";

/** What a caller may expect of the tool. Absent means `false`. */
export interface ToolAnnotations {
  /** Changes nothing outside its own answer. */
  readonly readOnly?: boolean;
  /** May destroy or overwrite something. */
  readonly destructive?: boolean;
  /** Calling it twice with the same input is the same as once. */
  readonly idempotent?: boolean;
  /** Talks to a world the device does not control. */
  readonly openWorld?: boolean;
}

/** Limits of one call. Absent means the device's default. Sizes are `"256M"`, `"1G"` or a number of bytes. */
export interface ToolLimits {
  readonly memory?: string | number;
  /** Processes and threads together. */
  readonly pids?: number;
  /** Thousandths of a CPU: 500 is half of one. */
  readonly cpuMillis?: number;
  /** Space in `/tmp` and `/out`. */
  readonly disk?: string | number;
  /** Bytes of standard output and error. */
  readonly output?: string | number;
}

/** The options of a tool. All are literals: arc reads them without running the code. */
export interface ToolOptions {
  /** Name within the bundle: `a-z`, digits and `-`. Default: the method or constant in kebab-case. */
  readonly name?: string;
  /** A short name for people. */
  readonly title?: string;
  /** What it does, for people and models. Default: the doc comment. */
  readonly description?: string;
  /** Resource tokens a call holds, for example `"kv:orders:ro"`. */
  readonly tokens?: readonly string[];
  /** Hosts it may reach, `"api.example.com"` or `"api.example.com:8443"`. */
  readonly egress?: readonly string[];
  /** Names of the secrets it uses. */
  readonly secrets?: readonly string[];
  readonly annotations?: ToolAnnotations;
  readonly limits?: ToolLimits;
  /** Longest run: `"500ms"`, `"5s"`, `"2m"`, or milliseconds. Default 30 s. */
  readonly timeout?: string | number;
  readonly approval?: Approval;
  /** Whether it may start other programs. Default `false`. */
  readonly spawn?: boolean;
  /** `false`: the process makes no machine code while it runs. About nine times slower, and safer for code nobody has read. */
  readonly jit?: boolean;
}

/** A tool as an options object with its function. `run` takes one object, or nothing; it may return a Promise. */
export interface ToolDefinition<Input, Output> extends ToolOptions {
  readonly run: (input: Input) => Output;
}

/** What `defineTool` returns: the same object, so a test can call `run`. */
export type Tool<Input, Output> = ToolDefinition<Input, Output>;

/** Any method, also one that declares its `this`. */
type Method = (this: never, ...args: never[]) => unknown;
// The type of `this` in a context is invariant, so only `any` takes every class.
type MethodContext = ClassMethodDecoratorContext<any, any>;

/** What a function gives, now or later. */
type Awaitable<Value> = Value | Promise<Value>;
type Decorator<Target> = (method: Target, context: MethodContext) => void;

/**
 * Makes a public method of an exported class a tool.
 *
 * ```ts
 * export class Weather {
 *   /** The forecast for one city. *\/
 *   @tool({ annotations: { readOnly: true } })
 *   forecast(input: { city: string }): { summary: string } { … }
 * }
 * ```
 */
export function tool<Input extends StandardSchema, Output extends StandardSchema>(options: ToolOptions & { readonly input: Input; readonly output: Output }): Decorator<(this: never, input: InferOutput<Input>) => Awaitable<InferInput<Output>>>;
export function tool<Input extends StandardSchema>(options: ToolOptions & { readonly input: Input }): Decorator<(this: never, input: InferOutput<Input>) => unknown>;
export function tool<Output extends StandardSchema>(options: ToolOptions & { readonly output: Output }): Decorator<(this: never, ...args: never[]) => Awaitable<InferInput<Output>>>;
export function tool(options?: ToolOptions): Decorator<Method>;
export function tool(method: Method, context: MethodContext): void;
export function tool(first?: (ToolOptions & Schemas) | Method, context?: MethodContext): unknown {
  if (context !== undefined || typeof first === "function") return undefined;
  // arc leaves the decorator of a tool with schemas in the code; all others do nothing and are taken out.
  return first?.input || first?.output ? (method: Method) => guarded(method, first) : () => undefined;
}

/**
 * Makes a function a tool; export the result as a constant. Its types are the schema; where they say too little, `input`
 * and `output` take a Standard Schema value (zod, ArkType, valibot), which then checks each call.
 *
 * ```ts
 * /** Adds two numbers. *\/
 * export const add = defineTool({ run: (input: { a: number; b: number }) => input.a + input.b });
 * ```
 */
export function defineTool<Input extends StandardSchema, Output extends StandardSchema>(
  definition: ToolOptions & { readonly input: Input; readonly output: Output; readonly run: (input: InferOutput<Input>) => Awaitable<InferInput<Output>> },
): Tool<InferInput<Input>, Awaitable<InferOutput<Output>>>;
export function defineTool<Input extends StandardSchema, Output>(definition: ToolOptions & { readonly input: Input; readonly run: (input: InferOutput<Input>) => Output }): Tool<InferInput<Input>, Output>;
export function defineTool<Input, Output extends StandardSchema>(
  definition: ToolOptions & { readonly output: Output; readonly run: (input: Input) => Awaitable<InferInput<Output>> },
): Tool<Input, Awaitable<InferOutput<Output>>>;
export function defineTool<Output>(definition: ToolOptions & { readonly run: () => Output }): Tool<void, Output>;
export function defineTool<Input, Output>(definition: ToolDefinition<Input, Output>): Tool<Input, Output>;
export function defineTool(definition: ToolOptions & Schemas & { readonly run: (input: never) => unknown }): unknown {
  return definition.input || definition.output ? { ...definition, run: guarded(definition.run, definition) } : definition;
}

/** Facts about the bundle; what `arc.toml` says as well must be the same. */
export interface AriaOptions {
  readonly name?: string;
  readonly version?: string;
  readonly description?: string;
  readonly license?: string;
  readonly authors?: readonly string[];
}

/** Describes the bundle from its code: `@aria({ description: "…" }) export class Weather { … }`. At most one in a project. */
export function aria(_options: AriaOptions): (target: abstract new (...args: never[]) => unknown, context: ClassDecoratorContext) => void {
  return () => undefined;
}

/** The same as a call: `export const bundle = defineAria({ description: "…" })`. */
export function defineAria(options: AriaOptions): AriaOptions {
  return options;
}
