//! What arc says, and where: data on stdout, everything else on stderr.
//!
//! With `--json` stdout carries one envelope `{ok, data, warnings}` / `{ok, error, warnings}` (or NDJSON events of a stream)
//! and nothing else. Whatever is written for people passes `keepColours`, so no text from outside can drive the terminal.

import { escapeJson, escapeLine, escapeText, keepColours } from "./escape.ts";
import { errorJson, UserError } from "./errors.ts";
import { toJson } from "./json.ts";

/** A place to write. `write` resolves when the bytes left, so a slow reader slows the writer. */
export interface Sink {
  readonly tty: boolean;
  readonly columns: number;
  write(data: Uint8Array | string): Promise<void>;
}

export interface UiOptions {
  readonly stdout: Sink;
  readonly stderr: Sink;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly json: boolean;
  readonly quiet: boolean;
  readonly verbose: boolean;
  readonly progress: boolean;
  /** Keys of `data` to keep; empty keeps all. */
  readonly fields: readonly string[];
  /** Asks one question on the terminal; absent when there is none. */
  readonly ask?: ((question: string) => Promise<string>) | undefined;
}

export interface Style {
  bold(text: string): string;
  dim(text: string): string;
  red(text: string): string;
  green(text: string): string;
  yellow(text: string): string;
  cyan(text: string): string;
}

/** A bar that appears only on a terminal and only after a second. */
export interface ProgressBar {
  advance(amount: number): void;
  end(): void;
}

/** A line on a terminal that says what is waited for. `end` wipes it and may be called again. */
export interface Working {
  end(): void;
}

const PROGRESS_DELAY_MS = 1000;
const PROGRESS_EVERY_MS = 100;

export class Ui {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly verbose: boolean;
  /** For text on stdout. */
  readonly style: Style;
  /** For text on stderr. */
  readonly errStyle: Style;
  readonly #options: UiOptions;
  readonly #warnings: string[] = [];
  #pending: Promise<void> = Promise.resolve();
  #failure: unknown;

  constructor(options: UiOptions) {
    this.#options = options;
    this.json = options.json;
    this.quiet = options.quiet;
    this.verbose = options.verbose;
    this.style = style(wantsColour(options.env, options.stdout.tty));
    this.errStyle = style(wantsColour(options.env, options.stderr.tty));
  }

  /** The sinks, for raw bytes of a program that runs on the device. */
  get stdout(): Sink {
    return this.#options.stdout;
  }
  get stderr(): Sink {
    return this.#options.stderr;
  }

  /** The result. `data` in JSON mode; for people `human()`, or nothing when it is absent. Call once. */
  done(data: unknown, human?: () => string): void {
    if (this.json) this.#out(`${toJson({ ok: true, data: pick(data, this.#options.fields), warnings: this.#warnings })}\n`);
    else if (human !== undefined) this.print(human());
  }

  /** A line (or more) of the result for people. */
  print(text: string): void {
    if (!this.json && text !== "") this.#out(`${keepColours(text)}\n`);
  }

  /** JSON that is itself the result, byte for byte, except that a terminal gets its control characters as `\u` escapes. */
  printJson(json: string): void {
    this.#out(`${this.stdout.tty ? escapeJson(json) : json}\n`);
  }

  /** One NDJSON event of a stream; only in JSON mode. */
  event(event: { readonly type: string; readonly [key: string]: unknown }): void {
    if (this.json) this.#out(`${toJson(event)}\n`);
  }

  /** What is happening; `-q` silences it. */
  note(text: string): void {
    if (!this.quiet) this.#err(text);
  }

  /** How something ended badly without being an error of arc; `-q` does not silence it. */
  complain(text: string): void {
    this.#err(`arc: ${escapeText(text)}`);
  }

  /** An error that ends nothing: shown as `fail` shows it, without an envelope; `-q` does not silence it. */
  problem(error: unknown): void {
    this.#err(errorText(error, this.errStyle, this.verbose));
  }

  /** A sequence that wipes the terminal; the caller knows that it is one. */
  clear(sequence: string): void {
    this.#raw(sequence);
  }

  /** Only with `-v`. */
  detail(text: string): void {
    if (this.verbose) this.#err(this.errStyle.dim(text));
  }

  /** Shown on stderr and listed in the envelope. */
  warn(text: string): void {
    this.#warnings.push(text);
    if (!this.json) this.#err(`${this.errStyle.yellow("warning")}: ${escapeText(text)}`);
  }

  /** The one way an error reaches the outside. */
  fail(error: unknown): void {
    if (this.json) this.#out(`${toJson({ ok: false, error: errorJson(error), warnings: this.#warnings })}\n`);
    else this.#err(errorText(error, this.errStyle, this.verbose));
  }

  /** Yes or no. Never asks without a terminal: then `flagName` is the way to answer, and the error says so. */
  async confirm(question: string, flagName: string): Promise<boolean> {
    if (this.#options.ask === undefined || this.json) {
      throw new UserError("ARC2010", `${question} This needs an answer and there is no terminal`, { hint: `add ${flagName}` });
    }
    await this.flush();
    const answer = (await this.#options.ask(`${keepColours(question)} [y/N] `)).trim().toLowerCase();
    return answer === "y" || answer === "yes";
  }

  progress(label: string, total: number, unit: (value: number) => string): ProgressBar {
    const shown = this.#shows();
    const started = performance.now();
    let drawn = 0;
    let value = 0;
    const draw = (now: number): void => {
      drawn = now;
      const share = total <= 0 ? 1 : Math.min(1, value / total);
      const width = Math.max(10, Math.min(30, this.stderr.columns - 50));
      const bar = "█".repeat(Math.round(share * width)).padEnd(width, "░");
      const rate = unit(value / Math.max(0.001, (now - started) / 1000));
      this.#raw(`\r\u001b[K${keepColours(label)} ${bar} ${Math.floor(share * 100)}% ${unit(value)} of ${unit(total)}, ${rate}/s`);
    };
    return {
      advance: (amount) => {
        value += amount;
        const now = performance.now();
        if (shown && now - started >= PROGRESS_DELAY_MS && now - drawn >= PROGRESS_EVERY_MS) draw(now);
      },
      end: () => {
        if (drawn > 0) this.#raw("\r\u001b[K");
      },
    };
  }

  /** What is waited for, with the seconds, after one second. */
  waiting(label: string): Working {
    if (!this.#shows()) return { end: () => undefined };
    const started = performance.now();
    let drawn = false;
    const timer = setInterval(() => {
      drawn = true;
      this.#raw(`\r\u001b[K${keepColours(label)}, ${Math.round((performance.now() - started) / 1000)} s`);
    }, PROGRESS_DELAY_MS);
    timer.unref();
    return {
      end: () => {
        clearInterval(timer);
        if (drawn) this.#raw("\r\u001b[K");
        drawn = false;
      },
    };
  }

  /** What is being done by work that lets nothing else happen meanwhile, so it is said before. */
  async working(label: string): Promise<Working> {
    if (!this.#shows()) return { end: () => undefined };
    this.#raw(`\r\u001b[K${this.errStyle.dim(`${keepColours(label)} …`)}`);
    await this.flush();
    return { end: () => this.#raw("\r\u001b[K") };
  }

  #shows(): boolean {
    return this.#options.progress && this.stderr.tty && !this.quiet && !this.json;
  }

  /** Resolves when everything said so far is out; rejects when stdout is gone. */
  async flush(): Promise<void> {
    await this.#pending;
    if (this.#failure !== undefined) throw this.#failure;
  }

  #out(text: string): void {
    this.#queue(this.stdout, text);
  }

  #err(text: string): void {
    this.#queue(this.stderr, `${keepColours(text)}\n`);
  }

  #raw(text: string): void {
    this.#queue(this.stderr, text);
  }

  #queue(sink: Sink, text: string): void {
    this.#pending = this.#pending.then(() => sink.write(text)).catch((error: unknown) => {
      this.#failure ??= error;
    });
  }
}

/** An error for people: what, where, hint, commands. Text from outside is escaped here. */
export function errorText(error: unknown, style: Style, verbose: boolean): string {
  if (!(error instanceof UserError)) return bugText(error, style, verbose);
  const lines = [`${style.red("error")}${style.dim(`[${error.code}]`)}: ${escapeText(error.message)}`];
  const text = error.text ?? "";
  if (error.span !== undefined && text === "") {
    lines.push(`  --> ${escapeLine(error.span.file)}:${error.span.line}:${error.span.column}`);
  }
  if (text !== "") lines.push(text);
  if (error.hint !== undefined) lines.push(`  ${style.cyan("hint")}  ${escapeText(error.hint)}`);
  for (const fix of error.fix) lines.push(`  ${style.green("fix")}   ${escapeLine(fix)}`);
  if (verbose && error.cause !== undefined) lines.push(`  cause ${escapeText(String(error.cause))}`);
  return lines.join("\n");
}

function bugText(error: unknown, style: Style, verbose: boolean): string {
  const message = error instanceof Error ? error.message : String(error);
  const stack = error instanceof Error && error.stack !== undefined ? error.stack : "";
  const lines = [`${style.red("error")}${style.dim("[BUG]")}: ${escapeText(message)}`, "  this is a bug in arc"];
  lines.push(verbose ? escapeText(stack) : "  hint  -v shows where it happened");
  return lines.join("\n");
}

/** NO_COLOR, then FORCE_COLOR and CLICOLOR_FORCE, then CLICOLOR=0 and TERM=dumb, then whether it is a terminal. */
export function wantsColour(env: Readonly<Record<string, string | undefined>>, tty: boolean): boolean {
  if ((env["NO_COLOR"] ?? "") !== "") return false;
  const forced = env["FORCE_COLOR"] ?? env["CLICOLOR_FORCE"];
  if (forced !== undefined && forced !== "") return forced !== "0" && forced !== "false";
  if (env["CLICOLOR"] === "0" || env["TERM"] === "dumb") return false;
  return tty;
}

export function style(colour: boolean): Style {
  const wrap = (open: number, close: number) => (text: string) => (colour ? `\u001b[${open}m${text}\u001b[${close}m` : text);
  return { bold: wrap(1, 22), dim: wrap(2, 22), red: wrap(31, 39), green: wrap(32, 39), yellow: wrap(33, 39), cyan: wrap(36, 39) };
}

function pick(data: unknown, fields: readonly string[]): unknown {
  if (fields.length === 0 || data === null || typeof data !== "object") return data;
  if (Array.isArray(data)) return data.map((item) => pick(item, fields));
  return Object.fromEntries(Object.entries(data).filter(([key]) => fields.includes(key)));
}
