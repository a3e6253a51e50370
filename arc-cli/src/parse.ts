//! Words from the shell → typed arguments of one command. Pure: no terminal, no clock.

import { type Arg, type Args, optionName } from "./command.ts";
import { escapeLine } from "./escape.ts";
import { UserError } from "./errors.ts";
import { didYouMean } from "./suggest.ts";

/** Arguments by key, and the words a command with `collectExtra` interprets itself. */
export interface Parsed {
  readonly values: Record<string, unknown>;
  readonly extra: readonly string[];
  /** Keys the words themselves named (not defaults, not the environment). */
  readonly given: ReadonlySet<string>;
}

export interface ParseOptions {
  /** Shown in errors, for example `arc device add`. */
  readonly command: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly collectExtra?: boolean;
  /** Leave missing positionals alone (when help was asked for). */
  readonly lenient?: boolean;
}

export function parseArgs(words: readonly string[], args: Args, options: ParseOptions): Parsed {
  const state = new State(args, options);
  let at = 0;
  while (at < words.length) {
    const word = words[at] ?? "";
    at += 1;
    if (word === "--") {
      state.rest(words.slice(at));
      break;
    }
    if (word.startsWith("--")) at += state.long(word, words[at]);
    else if (word.length > 1 && word.startsWith("-") && !isNumber(word)) at += state.short(word, words[at]);
    else state.word(word);
  }
  return state.finish();
}

class State {
  readonly #options: ParseOptions;
  readonly #byFlag = new Map<string, [string, Arg]>();
  readonly #positionals: [string, Arg][] = [];
  readonly #rest: [string, Arg] | undefined;
  readonly #given = new Map<string, unknown[]>();
  readonly #args: Args;
  readonly #extra: string[] = [];
  #next = 0;

  constructor(args: Args, options: ParseOptions) {
    this.#args = args;
    this.#options = options;
    for (const [key, arg] of Object.entries(args)) {
      if (arg.kind === "positional") this.#positionals.push([key, arg]);
      else if (arg.kind === "rest") this.#rest = [key, arg];
      else {
        this.#byFlag.set(`--${optionName(key)}`, [key, arg]);
        if (arg.short !== undefined) this.#byFlag.set(`-${arg.short}`, [key, arg]);
      }
    }
  }

  /** One `--name[=value]`; answers how many following words it used. */
  long(word: string, next: string | undefined): 0 | 1 {
    const equals = word.indexOf("=");
    const name = equals < 0 ? word : word.slice(0, equals);
    const value = equals < 0 ? undefined : word.slice(equals + 1);
    const found = this.#byFlag.get(name);
    if (found === undefined) return this.#negatedOrUnknown(word, name, value);
    const [key, arg] = found;
    if (arg.kind === "flag") {
      if (value !== undefined) throw this.#usage("ARC2004", `${name} takes no value`);
      this.#add(key, true);
      return 0;
    }
    if (value !== undefined) {
      this.#set(key, arg, name, value);
      return 0;
    }
    // A word that looks like an option is no value: `--input --json` is a forgotten value, not the text "--json".
    if (next === undefined || (next.startsWith("--") && next.length > 2)) throw this.#usage("ARC2003", `${name} needs a value (${arg.value})`);
    this.#set(key, arg, name, next);
    return 1;
  }

  /** `-v`, `-qv`, `-oVALUE`, `-o VALUE`. */
  short(word: string, next: string | undefined): 0 | 1 {
    for (let at = 1; at < word.length; at++) {
      const name = `-${word[at]}`;
      const found = this.#byFlag.get(name);
      if (found === undefined) {
        if (this.#options.collectExtra && at === 1) {
          this.#extra.push(word);
          return 0;
        }
        throw this.#unknown(name);
      }
      const [key, arg] = found;
      if (arg.kind === "flag") {
        this.#add(key, true);
        continue;
      }
      const attached = word.slice(at + 1);
      if (attached !== "") {
        this.#set(key, arg, name, attached.startsWith("=") ? attached.slice(1) : attached);
        return 0;
      }
      if (next === undefined) throw this.#usage("ARC2003", `${name} needs a value (${arg.value})`);
      this.#set(key, arg, name, next);
      return 1;
    }
    return 0;
  }

  word(word: string): void {
    const found = this.#positionals[this.#next];
    if (found === undefined) {
      if (this.#options.collectExtra) this.#extra.push(word);
      else throw this.#usage("ARC2005", `unexpected argument \`${escapeLine(word)}\``);
      return;
    }
    const [key, arg] = found;
    this.#add(key, word);
    if (!arg.repeat) this.#next += 1;
  }

  rest(words: readonly string[]): void {
    if (this.#rest !== undefined) this.#given.set(this.#rest[0], [...words]);
    else for (const word of words) this.word(word);
  }

  finish(): Parsed {
    const values: Record<string, unknown> = {};
    for (const [key, arg] of Object.entries(this.#args)) {
      const given = this.#given.get(key) ?? this.#fromEnvironment(key, arg);
      if (given === undefined) {
        if (arg.required && this.#options.lenient !== true) throw this.#usage("ARC2002", `missing ${arg.value}: ${lower(arg.help)}`);
        values[key] = arg.absent;
      } else values[key] = arg.repeat ? given : given[0];
    }
    return { values, extra: this.#extra, given: new Set(this.#given.keys()) };
  }

  #fromEnvironment(key: string, arg: Arg): unknown[] | undefined {
    const text = arg.env === undefined ? undefined : this.#options.env[arg.env];
    if (text === undefined || text === "") return undefined;
    return [this.#parse(arg, `${arg.env} (--${optionName(key)})`, text)];
  }

  #negatedOrUnknown(word: string, name: string, value: string | undefined): 0 {
    const plain = name.startsWith("--no-") ? this.#byFlag.get(`--${name.slice(5)}`) : undefined;
    if (plain !== undefined && plain[1].kind === "flag" && value === undefined) {
      this.#given.delete(plain[0]);
      return 0;
    }
    if (!this.#options.collectExtra) throw this.#unknown(name);
    this.#extra.push(word);
    return 0;
  }

  #set(key: string, arg: Arg, name: string, text: string): void {
    if (!arg.repeat && this.#given.has(key)) throw this.#usage("ARC2006", `${name} is given twice`);
    this.#add(key, this.#parse(arg, name, text));
  }

  #parse(arg: Arg, name: string, text: string): unknown {
    if (arg.choices !== undefined && !arg.choices.includes(text)) {
      const hint = didYouMean(text, arg.choices);
      throw this.#usage("ARC2007", `${name} must be one of ${arg.choices.join(", ")}, not \`${escapeLine(text)}\``, hint);
    }
    try {
      return arg.parse(text);
    } catch (error) {
      if (error instanceof UserError) throw error;
      throw this.#usage("ARC2007", `${name} ${(error as Error).message}, not \`${escapeLine(text)}\``);
    }
  }

  #add(key: string, value: unknown): void {
    const held = this.#given.get(key);
    if (held === undefined) this.#given.set(key, [value]);
    else held.push(value);
  }

  #unknown(name: string): UserError {
    const known = [...this.#byFlag.entries()].filter(([, [, arg]]) => !arg.hidden).map(([flag]) => flag);
    return this.#usage("ARC2001", `unknown option \`${escapeLine(name)}\``, didYouMean(name, known));
  }

  #usage(code: string, message: string, hint?: string): UserError {
    return new UserError(code, message, { hint: hint ?? `see \`${this.#options.command} --help\`` });
  }
}

function isNumber(word: string): boolean {
  return /^-[0-9.]/.test(word);
}

function lower(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}
