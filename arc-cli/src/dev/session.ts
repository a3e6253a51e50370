//! `arc dev` between its first build and its end: waits for a change or a key, and says what became of it.
//!
//! One step at a time; what changes meanwhile is one more step after it. An error of a build or of the device is said and kept
//! until a build is good again; it never ends the session.

import type { Device } from "../client/channel.ts";
import { ended, endedText, usageJson, output } from "../client/outcome.ts";
import { CALL_TIMEOUT_MS } from "../client/session.ts";
import { RunView } from "../client/view.ts";
import { lineJson, lineText } from "../commands/logs.ts";
import type { Context } from "../command.ts";
import { errorJson, UserError } from "../errors.ts";
import { escapeLine } from "../escape.ts";
import type { Finished } from "../gen/aria/v1/common_pb.ts";
import { openPlace, type Place } from "./device.ts";
import { sampleInput } from "./sample.ts";
import { type Made, Workshop } from "./swap.ts";

/** A device that went away is looked for this often, this many times; after that the next change tries again. */
const RETRY_MS = 2000;
const RETRIES_MAX = 30;
const CLEAR = "\u001b[2J\u001b[3J\u001b[H";

export interface DevOptions {
  readonly context: string | undefined;
  readonly tool: string | undefined;
  readonly input: string | undefined;
}

export class DevSession {
  readonly #workshop: Workshop;
  readonly #options: DevOptions;
  readonly #context: Context;
  #place: Place | undefined;
  #device: Device | undefined;
  /** What is on the device. */
  #there: Made | undefined;
  #broken = false;
  /** A version that calls go to whatever else is installed. */
  #pinned: string | null = null;
  #retries = 0;
  #logs: AbortController | undefined;
  readonly #calls = new AbortController();

  constructor(workshop: Workshop, options: DevOptions, context: Context) {
    this.#workshop = workshop;
    this.#options = options;
    this.#context = context;
  }

  get retryMs(): number | undefined {
    return this.#broken && this.#device === undefined && this.#retries < RETRIES_MAX ? RETRY_MS : undefined;
  }

  /** Chooses the device and says which; the one failure that ends `arc dev`. */
  async open(): Promise<void> {
    const { place, device } = await openPlace(this.#options.context, this.#context);
    [this.#place, this.#device] = [place, device];
    const { ui } = this.#context;
    ui.event({ type: "device", context: place.name, address: place.address, local: place.local });
    if (ui.json) return;
    ui.note(`device ${escapeLine(place.name)} at ${escapeLine(place.address)}${place.local ? "" : "; whoever calls these tools there gets this version while arc dev runs"}`);
  }

  /** One build and, when it is good and differs, one swap. `again`: a retry, which says nothing when it fails the same way. */
  async step(again = false): Promise<void> {
    const { ui } = this.#context;
    const start = performance.now();
    this.#retries = again ? this.#retries + 1 : 0;
    try {
      const made = await this.#workshop.make((name) => this.#installed(name));
      const before = this.#there;
      if (before !== undefined && before.essence === made.essence && !this.#broken) {
        ui.event({ type: "unchanged" });
        if (!ui.json) ui.note(ui.errStyle.dim("nothing changed"));
        return;
      }
      if (before?.essence !== made.essence) {
        const device = await this.#connected();
        await this.#workshop.swap(device, made, this.#place?.local === true, this.#context).catch(async (error: unknown) => {
          throw await this.#lost(error, `upload ${made.name}@${made.version}`);
        });
        this.#there = made;
      }
      this.#good(made, before, performance.now() - start);
    } catch (error) {
      if (this.#context.signal.aborted) return;
      if (!again || !this.#broken) this.#bad(error);
    }
  }

  /** An interrupt in the middle of a step, or a long silence, may have cut the connection; then one more is opened. */
  async #leave(): Promise<string[]> {
    const removed = this.#device === undefined ? [] : await this.#workshop.leave(this.#device);
    if (!this.#workshop.present) return removed;
    try {
      this.#device?.close();
      this.#device = await this.#reopen({ ...this.#context, signal: AbortSignal.timeout(CALL_TIMEOUT_MS) });
      return [...removed, ...(await this.#workshop.leave(this.#device))];
    } catch {
      // Gone for good: the next start of arc dev removes what is left.
      return removed;
    }
  }

  async #connected(): Promise<Device> {
    this.#device ??= await this.#reopen(this.#context);
    return this.#device;
  }

  async #reopen(context: Context): Promise<Device> {
    return (await openPlace(this.#place?.name.startsWith("/") === true ? undefined : this.#place?.name, context)).device;
  }

  async #installed(name: string): Promise<string[]> {
    try {
      const { bundles } = await (await this.#connected()).bundles.listBundles({}, { signal: this.#context.signal, timeoutMs: CALL_TIMEOUT_MS });
      const ours = bundles.filter((bundle) => bundle.name === name);
      this.#pinned = ours.find(({ pinned }) => pinned)?.version ?? null;
      return ours.map(({ version }) => version);
    } catch (error) {
      throw await this.#lost(error, "list bundles");
    }
  }

  /** The connection is not used again: the next step opens another. */
  async #lost(error: unknown, doing: string): Promise<unknown> {
    const device = this.#device;
    if (error instanceof UserError || device === undefined) return error;
    this.#device = undefined;
    const explained = await device.explain(error, doing);
    device.close();
    return explained;
  }

  #good({ version, built, ms }: Made, before: Made | undefined, totalMs: number): void {
    const { ui } = this.#context;
    const { digest, manifest } = built.bundle;
    const state = (kind: "interfaceDigest" | "authorityDigest"): "new" | "unchanged" | "changed" => (before === undefined ? "new" : before.built[kind] === built[kind] ? "unchanged" : "changed");
    const [schema, authority] = [state("interfaceDigest"), state("authorityDigest")];
    const tools = manifest.tools.map((tool) => `${manifest.name}.${tool.name}`);
    const took = Math.round(totalMs);
    ui.event({ type: "build", ok: true, version, digest, tools, interfaceDigest: built.interfaceDigest, authorityDigest: built.authorityDigest, interface: schema, authority, pinned: this.#pinned, ms: { check: Math.round(ms.check), bundle: Math.round(ms.bundle), total: took } });
    if (this.#broken && !ui.json && ui.stderr.tty) ui.clear(CLEAR);
    this.#broken = false;
    if (ui.json) return;
    const said = (what: string, is: string): string => (is === "changed" ? ui.errStyle.yellow(`${what} changed`) : `${what} ${is}`);
    ui.note(`${ui.errStyle.green("✓")} ${tools.length} ${tools.length === 1 ? "tool" : "tools"} · ${said("schema", schema)} · ${said("authority", authority)} · ${took} ms${before === undefined ? `  ${escapeLine(tools.join(" "))}` : ""}`);
    if (this.#pinned !== null) ui.note(`${ui.errStyle.yellow("warning")}: calls of ${manifest.name} are pinned to ${escapeLine(this.#pinned)} on this device and do not come here; \`arc pin ${manifest.name} --newest\` lets them`);
  }

  #bad(error: unknown): void {
    const { ui } = this.#context;
    this.#broken = true;
    ui.event({ type: "build", ok: false, error: errorJson(error) });
    if (!ui.json) ui.problem(error);
  }

  /** Calls the tool with the last input; the answer goes to stdout. */
  async invoke(): Promise<void> {
    const { ui } = this.#context;
    const made = this.#there;
    if (made === undefined) return ui.note("nothing to call: no build has been good yet");
    const { tools, name } = made.built.bundle.manifest;
    const tool = tools.find((one) => this.#options.tool === undefined || [one.name, `${name}.${one.name}`].includes(this.#options.tool));
    if (tool === undefined) return ui.note(`there is no tool ${escapeLine(this.#options.tool ?? "")}; there are ${tools.map((one) => one.name).join(", ")}`);
    const inputJson = this.#options.input ?? sampleInput(tool.input);
    const full = `${name}.${tool.name}`;
    if (!ui.json) ui.note(ui.errStyle.dim(`${full} ${escapeLine(inputJson)}`));
    try {
      const finished = await this.#call(await this.#connected(), full, inputJson);
      const end = ended(finished?.outcome);
      const succeeded = end.kind === "succeeded";
      ui.event({ type: "invoked", tool: full, version: made.version, ok: succeeded, outcome: succeeded ? { kind: end.kind, output: output(end.outputJson) } : { ...end }, usage: usageJson(finished?.usage) });
      if (ui.json) return;
      if (succeeded) ui.printJson(end.outputJson);
      else ui.complain(`${full}: ${endedText(end) ?? ""}${end.kind === "failed" && end.stack !== "" ? `\n${end.stack}` : ""}`);
    } catch (error) {
      if (this.#context.signal.aborted) return;
      const explained = await this.#lost(error, `invoke ${full}`);
      ui.event({ type: "invoked", tool: full, version: made.version, ok: false, error: errorJson(explained) });
      if (!ui.json) ui.problem(explained);
    }
  }

  async #call(device: Device, tool: string, inputJson: string): Promise<Finished | undefined> {
    const view = new RunView(this.#context.ui, { watch: false, raw: false });
    try {
      for await (const { event } of device.tools.invoke({ tool, inputJson }, { signal: AbortSignal.any([this.#context.signal, this.#calls.signal]) })) {
        if (event?.event.case === "finished") return event.event.value;
        if (event !== undefined) await view.show(event);
      }
      return undefined;
    } finally {
      await view.end();
    }
  }

  /** Log lines of this bundle's tools, on or off. */
  async toggleLogs(): Promise<void> {
    const { ui } = this.#context;
    if (this.#logs !== undefined) {
      this.#logs.abort();
      this.#logs = undefined;
      return ui.note("logs off");
    }
    const stop = new AbortController();
    this.#logs = stop;
    ui.note("logs on");
    void this.#follow(await this.#connected(), AbortSignal.any([stop.signal, this.#context.signal]));
  }

  async #follow(device: Device, signal: AbortSignal): Promise<void> {
    const { ui } = this.#context;
    try {
      for await (const line of device.node.streamLogs({ follow: true, tail: 1, since: new Date().toISOString() }, { signal })) {
        if (this.#there === undefined || !line.tool.startsWith(`${this.#there.name}.`)) continue;
        if (ui.json) ui.event({ type: "log", ...lineJson(line) });
        else ui.note(lineText(line, ui.errStyle));
      }
    } catch {
      if (!signal.aborted) ui.note("the log broke off; `l` begins again");
    }
    if (this.#logs?.signal.aborted === false) this.#logs = undefined;
  }

  /** From nothing: another connection, everything read anew. */
  async restart(): Promise<void> {
    this.#context.ui.note("restarting");
    this.#device?.close();
    this.#device = undefined;
    this.#there = undefined;
    this.#workshop.reset();
    await this.step();
  }

  /** Takes the dev version off the device, so that what was there before answers again. */
  async close(): Promise<void> {
    const { ui } = this.#context;
    this.#calls.abort();
    this.#logs?.abort();
    const removed = this.#workshop.present ? await this.#leave() : [];
    this.#device?.close();
    ui.event({ type: "stopped", removed });
    if (!ui.json && removed.length > 0) ui.note(`removed ${escapeLine(removed.map((version) => `${this.#there?.name ?? ""}@${version}`).join(" "))}`);
  }
}
