//! What happens during a run, shown as it comes.
//!
//! `raw`: the program's bytes go through unchanged (`arc exec`). Otherwise they are text for people on stderr, escaped.

import type { RunEvent } from "../gen/aria/v1/common_pb.ts";
import { OutputStream } from "../gen/aria/v1/common_pb.ts";
import { escapeLine, escapeText } from "../escape.ts";
import { output } from "./outcome.ts";
import type { Ui } from "../ui.ts";

export interface ViewOptions {
  /** Show queueing, start and progress too (as NDJSON events with --json). */
  readonly watch: boolean;
  readonly raw: boolean;
}

export class RunView {
  readonly #ui: Ui;
  readonly #options: ViewOptions;
  readonly #text = { stdout: new StreamText(), stderr: new StreamText() };
  readonly #utf8 = { stdout: new Utf8Splitter(), stderr: new Utf8Splitter() };
  #lineOpen = false;

  constructor(ui: Ui, options: ViewOptions) {
    this.#ui = ui;
    this.#options = options;
  }

  /** Resolves when the terminal or pipe took the bytes, which is what slows the sender. */
  async show(event: RunEvent): Promise<void> {
    const { case: kind, value } = event.event;
    switch (kind) {
      case "output":
        await this.#output(value.stream === OutputStream.STDERR ? "stderr" : "stdout", value.data);
        return;
      case "log":
        await this.#log(value.level, value.message, value.fieldsJson);
        return;
      case "notice":
        if (this.#ui.json && (this.#options.watch || this.#options.raw)) this.#ui.event({ type: "notice", code: value.code, message: value.message });
        else this.#ui.warn(escapeLine(`${value.code}: ${value.message}`));
        return;
      case "queued":
        await this.#step({ type: "queued", invocationId: value.invocationId, why: value.why }, `waiting: ${escapeLine(value.why)}`);
        return;
      case "granted":
        await this.#step({ type: "granted", invocationId: value.invocationId, leaseId: value.leaseId, fence: value.fence }, "granted");
        return;
      case "started":
        await this.#step({ type: "started", invocationId: value.invocationId, sandboxId: value.sandboxId }, "started");
        return;
      case "progress":
        await this.#step({ type: "progress", fraction: value.fraction < 0 ? null : value.fraction, message: value.message }, progressText(value.fraction, value.message));
        return;
      default:
        return;
    }
  }

  /** What is left of unfinished characters, and a line end so that the next message begins its own line. */
  async end(): Promise<void> {
    if (this.#options.raw) {
      if (this.#ui.json) for (const name of ["stdout", "stderr"] as const) this.#events(name, this.#utf8[name].end());
      return;
    }
    for (const stream of [this.#text.stdout, this.#text.stderr]) await this.#write(stream.end());
    if (this.#lineOpen) await this.#write("\n");
  }

  async #output(name: "stdout" | "stderr", data: Uint8Array): Promise<void> {
    if (this.#options.raw && !this.#ui.json) {
      await this.#ui[name].write(data);
    } else if (this.#ui.json && (this.#options.raw || this.#options.watch)) {
      this.#events(name, this.#utf8[name].take(data));
      await this.#ui.flush();
    } else if (!this.#ui.quiet) await this.#write(this.#text[name].take(data));
  }

  #events(name: "stdout" | "stderr", pieces: readonly Piece[]): void {
    for (const piece of pieces) this.#ui.event({ type: name, ...piece });
  }

  async #log(level: string, message: string, fieldsJson: string): Promise<void> {
    if (this.#ui.json && (this.#options.watch || this.#options.raw)) {
      this.#ui.event({ type: "log", level, message, fields: output(fieldsJson) });
      await this.#ui.flush();
      return;
    }
    await this.#line(`${escapeLine(level).padEnd(5)} ${escapeText(message)}${fieldsJson === "" || fieldsJson === "{}" ? "" : ` ${escapeLine(fieldsJson)}`}`);
  }

  async #step(event: { readonly type: string; readonly [key: string]: unknown }, text: string): Promise<void> {
    if (this.#ui.json) {
      if (this.#options.watch || this.#options.raw) this.#ui.event(event);
      await this.#ui.flush();
    } else if (this.#options.watch || this.#ui.verbose) await this.#line(this.#ui.errStyle.dim(text));
  }

  async #line(text: string): Promise<void> {
    if (this.#ui.quiet) return;
    if (this.#lineOpen) await this.#write("\n");
    this.#ui.note(text);
    await this.#ui.flush();
  }

  async #write(text: string): Promise<void> {
    if (text === "") return;
    this.#lineOpen = !text.endsWith("\n");
    await this.#ui.flush();
    await this.#ui.stderr.write(text);
  }
}

function progressText(fraction: number, message: string): string {
  const share = fraction < 0 || Number.isNaN(fraction) ? "" : `${Math.round(Math.min(1, fraction) * 100)}% `;
  return `${share}${escapeLine(message)}`;
}

/** Bytes → escaped text; a character split over two chunks stays whole, `\r\n` is one line end. */
class StreamText {
  readonly #decoder = new TextDecoder("utf-8");
  #carriage = false;

  take(data: Uint8Array): string {
    return this.#safe(this.#decoder.decode(data, { stream: true }));
  }

  end(): string {
    return this.#safe(this.#decoder.decode()) + (this.#carriage ? "\\r" : "");
  }

  #safe(text: string): string {
    const whole = this.#carriage ? `\r${text}` : text;
    this.#carriage = whole.endsWith("\r");
    return escapeText((this.#carriage ? whole.slice(0, -1) : whole).replaceAll("\r\n", "\n"));
  }
}

/** Part of an output stream in NDJSON: text where it is UTF-8, else base64. */
export type Piece = { readonly text: string } | { readonly base64: string };

/** Cuts a byte stream into pieces that lose nothing: joining them gives the same bytes. */
export class Utf8Splitter {
  #held: Uint8Array = new Uint8Array();

  take(data: Uint8Array): Piece[] {
    const whole = this.#held.length === 0 ? data : Buffer.concat([this.#held, data]);
    const cut = whole.length - unfinished(whole);
    this.#held = whole.slice(cut);
    return cut === 0 ? [] : [piece(whole.subarray(0, cut))];
  }

  end(): Piece[] {
    const left = this.#held;
    this.#held = new Uint8Array();
    return left.length === 0 ? [] : [piece(left)];
  }
}

function piece(bytes: Uint8Array): Piece {
  try {
    return { text: new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes) };
  } catch {
    return { base64: Buffer.from(bytes).toString("base64") };
  }
}

/** How many bytes at the end begin a character that is not complete yet (0 to 3). */
function unfinished(bytes: Uint8Array): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back] ?? 0;
    if ((byte & 0xc0) === 0x80) continue;
    const length = byte > 0xf4 ? 1 : byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc2 ? 2 : 1;
    return length > back ? back : 0;
  }
  return 0;
}
