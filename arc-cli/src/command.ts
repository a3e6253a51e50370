//! A command is data: name, summary, arguments, `run`. Parsing, help and completion derive from it.
//!
//! ```ts
//! export const greet = command({
//!   name: "greet",
//!   summary: "Say hello",
//!   args: {
//!     who: positional({ value: "NAME", help: "Whom to greet" }),
//!     times: option({ value: "N", help: "How often", parse: count, default: 1 }),
//!     loud: flag({ help: "In capitals" }),
//!   },
//!   async run({ who, times, loud }, { ui }) { ui.done({ who }, () => `hello ${who}`); },
//! });
//! ```

import type { ExitCode } from "./errors.ts";
import type { Ui } from "./ui.ts";

/** One declared argument; `T` is what `run` receives. Keys in camelCase become `--kebab-case`. */
export interface Arg<T = unknown> {
  readonly kind: "positional" | "flag" | "option" | "rest";
  readonly help: string;
  /** Placeholder in help, upper case. */
  readonly value: string;
  readonly short: string | undefined;
  readonly required: boolean;
  readonly repeat: boolean;
  readonly hidden: boolean;
  readonly choices: readonly string[] | undefined;
  readonly env: string | undefined;
  /** Throws an `Error` with one clause ("must be …") when the text is no value. */
  readonly parse: (text: string) => unknown;
  /** What `run` sees when the argument is absent. */
  readonly absent: T;
}

export type Args = Readonly<Record<string, Arg>>;
export type Values<A extends Args> = { readonly [K in keyof A]: A[K] extends Arg<infer T> ? T : never };

/** What a command gets beside its arguments. */
export interface Context {
  readonly ui: Ui;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** Aborted by the first Ctrl-C or SIGTERM; a second one ends arc at once. */
  readonly signal: AbortSignal;
  readonly stdin: Stdin;
}

/** Standard input; nothing is read before a command asks. */
export interface Stdin {
  readonly tty: boolean;
  /** Bytes as they come; ends at end of file. */
  chunks(): AsyncIterable<Uint8Array>;
  /** The same, key by key and without echo; only on a terminal, until `keysDone`. */
  keys?(): AsyncIterable<Uint8Array>;
  keysDone?(): void;
}

/** Exit code, or nothing for 0. */
export type RunResult = number | void;

export interface Command<A extends Args = Args> {
  readonly name: string;
  readonly summary: string;
  readonly description: string | undefined;
  readonly args: A;
  readonly examples: readonly string[];
  /** Unknown options and surplus words go to `extra` instead of being refused. */
  readonly collectExtra: boolean;
  /** Exit code of every failure of arc itself, where the table's codes would be taken for the program's (`exec`). */
  readonly failureExit: ExitCode | undefined;
  /** What help adds when it is asked for with these words, for example the options a tool's schema gives. */
  readonly moreHelp: ((words: readonly string[], context: Context) => Promise<string | undefined>) | undefined;
  readonly run: (args: Values<A>, context: Context, extra: readonly string[]) => Promise<RunResult>;
}

/** Commands below one noun: `arc device init`. */
export interface Group {
  readonly name: string;
  readonly summary: string;
  readonly description: string | undefined;
  readonly commands: readonly AnyCommand[];
}

// `run` takes its own arguments type, so commands of different arguments meet only behind this erasure.
export type AnyCommand = Omit<Command, "run"> & {
  readonly run: (args: never, context: Context, extra: readonly string[]) => Promise<RunResult>;
};

export function command<A extends Args>(definition: {
  readonly name: string;
  readonly summary: string;
  readonly description?: string;
  readonly args: A;
  readonly examples?: readonly string[];
  readonly collectExtra?: boolean;
  readonly failureExit?: ExitCode;
  readonly moreHelp?: (words: readonly string[], context: Context) => Promise<string | undefined>;
  readonly run: (args: Values<A>, context: Context, extra: readonly string[]) => Promise<RunResult>;
}): Command<A> {
  return {
    name: definition.name,
    summary: definition.summary,
    description: definition.description,
    args: definition.args,
    examples: definition.examples ?? [],
    collectExtra: definition.collectExtra ?? false,
    failureExit: definition.failureExit,
    moreHelp: definition.moreHelp,
    run: definition.run,
  };
}

export function group(definition: {
  readonly name: string;
  readonly summary: string;
  readonly description?: string;
  readonly commands: readonly AnyCommand[];
}): Group {
  return { description: undefined, ...definition };
}

const text = (value: string): string => value;

interface PositionalOptions {
  readonly value: string;
  readonly help: string;
}

/** A word without dashes. Optional ones are `undefined` when absent, repeated ones an array (empty when absent and optional). */
export function positional(options: PositionalOptions): Arg<string>;
export function positional(options: PositionalOptions & { readonly optional: true }): Arg<string | undefined>;
export function positional(options: PositionalOptions & { readonly repeat: true; readonly optional?: boolean }): Arg<readonly string[]>;
export function positional(options: PositionalOptions & { readonly optional?: boolean; readonly repeat?: boolean }): Arg {
  const repeat = options.repeat ?? false;
  return {
    kind: "positional",
    help: options.help,
    value: options.value,
    short: undefined,
    required: !(options.optional ?? false),
    repeat,
    hidden: false,
    choices: undefined,
    env: undefined,
    parse: text,
    absent: repeat ? [] : undefined,
  };
}

/** `--name`, present or not; `--no-name` takes it back. */
export function flag(options: { readonly help: string; readonly short?: string; readonly hidden?: boolean }): Arg<boolean> {
  return {
    kind: "flag",
    help: options.help,
    value: "",
    short: options.short,
    required: false,
    repeat: false,
    hidden: options.hidden ?? false,
    choices: undefined,
    env: undefined,
    parse: text,
    absent: false,
  };
}

interface OptionOptions {
  readonly value: string;
  readonly help: string;
  readonly short?: string;
  readonly choices?: readonly string[];
  /** Environment variable read when the option is absent. */
  readonly env?: string;
  readonly hidden?: boolean;
}

/** `--name VALUE` or `--name=VALUE`. Given twice: an error, unless `repeat`. */
export function option<T>(options: OptionOptions & { readonly parse: (text: string) => T; readonly repeat: true }): Arg<readonly T[]>;
export function option<T>(options: OptionOptions & { readonly parse: (text: string) => T; readonly default: T }): Arg<T>;
export function option<T>(options: OptionOptions & { readonly parse: (text: string) => T }): Arg<T | undefined>;
export function option(options: OptionOptions & { readonly repeat: true }): Arg<readonly string[]>;
export function option(options: OptionOptions & { readonly default: string }): Arg<string>;
export function option(options: OptionOptions): Arg<string | undefined>;
export function option(
  options: OptionOptions & { readonly parse?: (text: string) => unknown; readonly repeat?: boolean; readonly default?: unknown },
): Arg {
  const repeat = options.repeat ?? false;
  return {
    kind: "option",
    help: options.help,
    value: options.value,
    short: options.short,
    required: false,
    repeat,
    hidden: options.hidden ?? false,
    choices: options.choices,
    env: options.env,
    parse: options.parse ?? text,
    absent: repeat ? [] : options.default,
  };
}

/** Everything after `--`, untouched. */
export function rest(options: { readonly value: string; readonly help: string }): Arg<readonly string[]> {
  return {
    kind: "rest",
    help: options.help,
    value: options.value,
    short: undefined,
    required: false,
    repeat: true,
    hidden: false,
    choices: undefined,
    env: undefined,
    parse: text,
    absent: [],
  };
}

/** `fooBar` → `foo-bar`. */
export function optionName(key: string): string {
  return key.replace(/[A-Z]/g, (char) => `-${char.toLowerCase()}`);
}
