//! `arc invoke`: call one tool. Its answer is stdout; what it printed and logged is stderr.

import { inputFlags, inputFromFlags, readInput } from "../client/input.ts";
import { resolve } from "node:path";
import { putFile, putFiles, saveFiles } from "../client/blobs.ts";
import type { Device } from "../client/channel.ts";
import { type Ended, ended, endedText, fileJson, output, usageJson } from "../client/outcome.ts";
import { CALL_TIMEOUT_MS, contextOption, withDevice } from "../client/session.ts";
import { reasonExit } from "../client/status.ts";
import { RunView } from "../client/view.ts";
import { type Context, command, flag, option, positional, type Values } from "../command.ts";
import { DeviceError, Exit, type ExitCode, UserError } from "../errors.ts";
import { escapeLine, escapeText } from "../escape.ts";
import type { Finished } from "../gen/aria/v1/common_pb.ts";
import { isJson } from "../json.ts";
import { didYouMean } from "../suggest.ts";
import { duration, fileArgument } from "../values.ts";

/** Help must not hang with a device. */
const HELP_TIMEOUT_MS = 3000;

const args = {
  tool: positional({ value: "TOOL", help: "<bundle>.<tool>, or <tool> where one bundle alone has it" }),
  input: option({ value: "JSON", help: "Input as JSON, @FILE, or - for stdin; absent: {} or flags named after the input's properties" }),
  file: option({ value: "NAME=PATH", help: "File the tool finds at /in/NAME", parse: fileArgument, repeat: true }),
  bundle: option({ value: "FILE", help: "Call the tool of this bundle file without installing it" }),
  timeout: option({ value: "TIME", help: "Shorten the tool's own timeout, for example 5s", parse: duration }),
  out: option({ value: "DIR", help: "Save what the tool left in /out here" }),
  watch: flag({ help: "Show queueing, start and progress" }),
  context: contextOption,
};

export const invoke = command({
  name: "invoke",
  summary: "Call a tool",
  description: "The answer is printed as the device sent it. Exit 9: the tool ran and failed.",
  args,
  examples: [`arc invoke weather.forecast --input '{"city":"Oslo"}'`, "arc invoke weather.forecast --city Oslo --days 3", "arc invoke images.resize --width 200 --file photo.jpg=./photo.jpg --out ."],
  collectExtra: true,
  moreHelp: toolHelp,
  async run(values, context, extra) {
    if (extra.length > 0 && values.input !== undefined) {
      throw new UserError("ARC2052", `--input and \`${escapeLine(extra[0] ?? "")}\` exclude each other`, { hint: "give the whole input one way" });
    }
    const input = values.input === undefined ? undefined : await readInput(values.input, context.stdin);
    return await withDevice(values.context, context, `invoke ${values.tool}`, (device) => call(device, values, input, extra, context));
  },
});

/** The options a named tool adds. A device that does not answer only takes this part away. */
async function toolHelp(words: readonly string[], context: Context): Promise<string | undefined> {
  const tool = words.find((word) => /^[a-z][a-z0-9-]*\.[a-z][a-z0-9-]*$/.test(word));
  if (tool === undefined) return undefined;
  const { style } = context.ui;
  const named = words[words.indexOf("--context") + 1];
  const found = await withDevice(words.includes("--context") ? named : undefined, context, `look up ${tool}`, (device) => device.tools.getTool({ name: tool }, { signal: context.signal, timeoutMs: HELP_TIMEOUT_MS })).catch((error: unknown) => (error instanceof UserError ? error : undefined));
  if (found instanceof UserError) return `${style.bold("input")}\n  not known: ${escapeLine(found.message)}`;
  const flags = inputFlags(found?.tool?.inputSchemaJson ?? "{}");
  if (flags.length === 0) return `${style.bold("input")}\n  ${tool} takes none`;
  const heads = flags.map(({ flag, type }) => escapeLine(`${flag}${type === "" ? "" : ` ${type}`}`));
  const width = Math.min(40, Math.max(...heads.map((head) => head.length)));
  const lines = flags.map(({ required, description }, index) => `  ${(heads[index] ?? "").padEnd(width)}  ${[escapeLine(description), required ? "(required)" : ""].filter((part) => part !== "").join(" ")}`.trimEnd());
  return [style.bold(`input of ${tool}`), ...lines].join("\n");
}

async function call(device: Device, values: Values<typeof args>, input: string | undefined, extra: readonly string[], context: Context): Promise<number> {
  const { ui, signal } = context;
  if (values.bundle !== undefined && extra.length > 0) throw new UserError("ARC2052", "options named after the input need an installed tool", { hint: "give the input with --input" });
  const inputJson = input ?? (extra.length === 0 ? "{}" : await fromSchema(device, values.tool, extra, signal));
  const files = await putFiles(device, values.file, ui, signal);
  const bundle = values.bundle === undefined ? undefined : await putFile(device, resolve(context.cwd, values.bundle), "bundle", ui, signal);
  const view = new RunView(ui, { watch: values.watch, raw: false });
  const waiting = ui.waiting(`waiting for ${escapeLine(values.tool)}`);
  const request = { tool: values.tool, inputJson, files, timeoutMs: values.timeout ?? 0n, ...(bundle === undefined ? {} : { bundle }) };
  let finished: Finished | undefined;
  try {
    for await (const { event } of device.tools.invoke(request, { signal })) {
      if (event === undefined) continue;
      if (event.event.case !== "granted" && event.event.case !== "started") waiting.end();
      if (event.event.case === "finished") finished = event.event.value;
      else await view.show(event);
    }
  } catch (error) {
    throw await withSuggestion(await device.explain(error, `invoke ${values.tool}`), device, values.tool, signal);
  } finally {
    waiting.end();
    await view.end();
  }
  const end = ended(finished?.outcome);
  if (end.kind !== "succeeded") throw failure(end, finished, values.tool);
  const saved = values.out === undefined ? undefined : await saveFiles(device, end.files, values.out, signal);
  show(end, finished, saved, values.watch, context);
  return Exit.ok;
}

async function fromSchema(device: Device, tool: string, extra: readonly string[], signal: AbortSignal): Promise<string> {
  const options = { signal, timeoutMs: CALL_TIMEOUT_MS };
  try {
    const found = await device.tools.getTool({ name: tool }, options);
    return inputFromFlags(extra, found.tool?.inputSchemaJson ?? "{}", tool);
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw await withSuggestion(await device.explain(error, `look up ${tool}`), device, tool, signal);
  }
}

/** "did you mean" for a tool's name costs a second call, so only after a failure. */
async function withSuggestion(error: UserError, device: Device, tool: string, signal: AbortSignal): Promise<UserError> {
  if (error.code !== "TOOL_UNKNOWN") return error;
  const names = await device.tools.listTools({}, { signal, timeoutMs: CALL_TIMEOUT_MS }).then(({ tools }) => tools.map(({ name }) => name), () => []);
  const hint = didYouMean(tool, names);
  if (hint === undefined) return error;
  return new DeviceError(error.code, error.message, { exit: error.exit, hint, fix: error.fix, details: error.details, cause: error.cause });
}

function show(end: Extract<Ended, { kind: "succeeded" }>, finished: Finished | undefined, saved: readonly string[] | undefined, watch: boolean, { ui }: Context): void {
  if (ui.json) {
    const data = { invocationId: finished?.invocationId ?? "", output: output(end.outputJson), files: end.files.map(fileJson), ...(saved === undefined ? {} : { saved }), usage: usageJson(finished?.usage) };
    if (watch) ui.event({ type: "finished", ok: true, data });
    else ui.done(data);
    return;
  }
  if (!isJson(end.outputJson)) throw new DeviceError("ARC3008", "the device's answer is no JSON", { exit: Exit.unexpected, details: { output: end.outputJson } });
  ui.printJson(end.outputJson);
  if (saved !== undefined) for (const path of saved) ui.note(`saved ${escapeLine(path)}`);
  else if (end.files.length > 0) ui.note(`left in /out: ${end.files.map((file) => escapeLine(file.name)).join(", ")}; --out DIR saves it`);
}

/** A run that ended badly is an error of its own kind: exit 9, with the tool's stack. */
function failure(end: Exclude<Ended, { kind: "succeeded" }>, finished: Finished | undefined, tool: string): UserError {
  const details = { invocationId: finished?.invocationId ?? "", outcome: { ...end }, usage: usageJson(finished?.usage) };
  const stack = end.kind === "failed" && end.stack !== "" ? { text: stackText(end.stack, end.message) } : {};
  const [code, exit] = failureCode(end);
  // The code stands before the message already.
  const why = end.kind === "failed" && end.exitCode === undefined && end.signal === undefined ? end.message : endedText(end);
  return new DeviceError(code, `${tool}: ${why ?? ""}`, { exit, details, ...stack });
}

function failureCode(end: Exclude<Ended, { kind: "succeeded" }>): [string, ExitCode] {
  switch (end.kind) {
    case "failed":
      return [end.reason, end.reason === "BUDGET_EXHAUSTED" ? Exit.exhausted : Exit.toolFailed];
    case "cancelled":
      return ["CANCELLED", cancelledExit(end.by)];
    case "refused":
      return [end.reason, reasonExit(end.reason) ?? Exit.denied];
    case "unknown":
      return ["ARC3009", Exit.unexpected];
  }
}

/** By this arc: an interrupt. By a stop of the device: try again. By somebody else: the run failed. */
function cancelledExit(by: string): ExitCode {
  if (by === "caller") return Exit.interrupted;
  return by === "shutdown" ? Exit.unavailable : Exit.toolFailed;
}

/** The frames; the first line of a stack usually repeats the message. */
function stackText(stack: string, message: string): string {
  const frames = stack.startsWith(`${message}\n`) ? stack.slice(message.length + 1) : stack;
  return escapeText(frames).split("\n").map((line) => `  ${line}`).join("\n");
}
