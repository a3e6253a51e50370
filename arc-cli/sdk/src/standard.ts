//! Schemas as values (zod, ArkType, valibot …) beside types: arc reads the schema's type, the value itself checks each call.
//!
//! This is the part of the Standard Schema specification, version 1, that a tool needs; no library is known by name.

/** A value that says what another value must be. */
export interface StandardSchema<Input = unknown, Output = Input> {
  readonly "~standard": {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => Validated<Output> | Promise<Validated<Output>>;
    readonly types?: { readonly input: Input; readonly output: Output } | undefined;
  };
}

type Validated<Output> = { readonly value: Output; readonly issues?: undefined } | { readonly issues: readonly Issue[] };

interface Issue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/** What a schema takes. */
export type InferInput<Schema extends StandardSchema> = NonNullable<Schema["~standard"]["types"]>["input"];
/** What a schema gives once it has taken a value: defaults filled in, texts parsed. */
export type InferOutput<Schema extends StandardSchema> = NonNullable<Schema["~standard"]["types"]>["output"];

/** The schemas of a tool. */
export interface Schemas {
  readonly input?: StandardSchema | undefined;
  readonly output?: StandardSchema | undefined;
}

/** A value that breaks the tool's schema. The message names each place and its rule, at most ten. */
export class SchemaError extends Error {
  override readonly name: "InputInvalid" | "ResultInvalid";
  constructor(side: "input" | "result", issues: readonly Issue[]) {
    super(issues.slice(0, ISSUES_MAX).map((issue) => `${pathOf(side, issue)}: ${issue.message}`).join("; "));
    this.name = side === "input" ? "InputInvalid" : "ResultInvalid";
    // The harness asks for this: a result that breaks its schema is an outcome of its own.
    Object.defineProperty(this, Symbol.for("aria.result"), { value: side === "result" });
  }
}

const ISSUES_MAX = 10;

function pathOf(side: string, { path = [] }: Issue): string {
  const keys = path.map((part) => (typeof part === "object" ? part.key : part));
  return keys.reduce<string>((at, key) => (typeof key === "number" ? `${at}[${key}]` : `${at}.${String(key)}`), side);
}

/** A function whose argument and result go through schemas. It waits only where the function or a schema does. */
export function guarded<Run extends (this: never, input: never) => unknown>(run: Run, { input, output }: Schemas): Run {
  const guard = function (this: never, value: unknown): unknown {
    const given = input ? checked(input, value, "input") : value;
    const result = after(given, (taken) => run.call(this, taken as never));
    return output ? after(result, (answer) => checked(output, answer, "result")) : result;
  };
  return guard as unknown as Run;
}

function checked(schema: StandardSchema, value: unknown, side: "input" | "result"): unknown {
  return after(schema["~standard"].validate(value), (verdict) => {
    if (verdict.issues) throw new SchemaError(side, verdict.issues);
    return verdict.value;
  });
}

function after<Value>(value: Value | Promise<Value>, then: (value: Value) => unknown): unknown {
  return value instanceof Promise ? value.then(then) : then(value);
}
