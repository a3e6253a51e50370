//! From the words of the shell to one command: find it, parse, run, and map whatever happens to an exit code.
//!
//! No process globals here; `main.ts` hands them in, and tests drive `runCli` in-process.

import { type AnyCommand, type Args, type Context, flag, option, type Stdin, type Values } from "./command.ts";
import { type Entry, entries, hidden, isGroup, sections } from "./commands.ts";
import { escapeLine } from "./escape.ts";
import { Exit, type ExitCode, UserError } from "./errors.ts";
import { commandHelp, groupHelp, programHelp } from "./help.ts";
import { parseArgs } from "./parse.ts";
import { didYouMean } from "./suggest.ts";
import { type Sink, Ui } from "./ui.ts";

/** Options every command takes. */
export const globals = {
  json: flag({ help: "One JSON object (or NDJSON) on stdout" }),
  fields: option({ value: "A,B", help: "With --json: keep only these keys of the data", parse: (text) => text.split(",").filter((key) => key !== "") }),
  quiet: flag({ short: "q", help: "Only results and errors" }),
  verbose: flag({ short: "v", help: "Say more about what is done" }),
  noProgress: flag({ help: "No progress bar" }),
  help: flag({ short: "h", help: "Show help" }),
} satisfies Args;

/** The world around one invocation of arc. */
export interface World {
  readonly stdout: Sink;
  readonly stderr: Sink;
  readonly stdin: Stdin;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly signal: AbortSignal;
  readonly ask?: ((question: string) => Promise<string>) | undefined;
}

/** Thrown by a sink whose reader left. */
export class ClosedPipe extends Error {}

/** What a shell reports for a program that SIGPIPE ended. */
const EXIT_CLOSED_PIPE = 141;

export async function runCli(argv: readonly string[], world: World): Promise<number> {
  // Until the command's own parse is done, these decide how its failure is shown.
  const early = argv.slice(0, argv.includes("--") ? argv.indexOf("--") : argv.length);
  let ui = makeUi(world, { json: early.includes("--json"), verbose: early.includes("-v") || early.includes("--verbose") });
  let failureExit: ExitCode | undefined;
  try {
    const found = await find(argv);
    if ("command" in found) failureExit = found.command.failureExit;
    const parsed = "command" in found ? parseCommand(found, world) : parseHelp(found, world);
    ui = makeUi(world, parsed.globals);
    const code = await parsed.run(ui);
    await ui.flush();
    return code;
  } catch (error) {
    return await failed(error, ui, world, failureExit);
  }
}

async function failed(error: unknown, ui: Ui, world: World, failureExit: ExitCode | undefined): Promise<number> {
  if (error instanceof ClosedPipe) return EXIT_CLOSED_PIPE;
  const interrupted = world.signal.aborted && !(error instanceof UserError && error.code === "INTERRUPTED");
  const shown = interrupted ? new UserError("INTERRUPTED", "interrupted", { exit: Exit.interrupted, cause: error }) : error;
  ui.fail(shown);
  await ui.flush().catch(() => undefined);
  if (shown instanceof UserError && shown.exit === Exit.interrupted) return Exit.interrupted;
  return failureExit ?? (shown instanceof UserError ? shown.exit : Exit.unexpected);
}

interface Ready {
  readonly globals: Partial<Values<typeof globals>>;
  readonly run: (ui: Ui) => Promise<number>;
}

/** What the words name: a command with its remaining words, or a help page. */
type Found = { readonly command: AnyCommand; readonly path: string; readonly words: readonly string[] } | { readonly help: (ui: Ui) => string; readonly words: readonly string[] };

async function find(argv: readonly string[]): Promise<Found> {
  const { leading, words } = splitLeading(argv);
  const [name, ...after] = words;
  if (leading.includes("--version")) return await find(["version", ...leading.filter((word) => word !== "--version")]);
  if (name === undefined) {
    if (leading.includes("-h") || leading.includes("--help")) return { help: (ui) => programHelp(sections, globals, ui.style), words: leading };
    throw new UserError("ARC2000", "no command given", { hint: "`arc --help` lists them" });
  }
  const entry = [...entries, ...hidden].find((candidate) => candidate.name === name);
  if (entry === undefined) throw unknownCommand(name, "arc", entries.map((candidate) => candidate.name));
  return await findInEntry(entry, leading, after);
}

async function findInEntry(entry: Entry, leading: readonly string[], after: readonly string[]): Promise<Found> {
  const loaded = await entry.load();
  if (!isGroup(loaded)) return { command: loaded, path: `arc ${loaded.name}`, words: [...leading, ...after] };
  const inner = splitLeading(after);
  const [name, ...words] = inner.words;
  const before = [...leading, ...inner.leading];
  if (name === undefined) {
    if (before.includes("-h") || before.includes("--help")) return { help: (ui) => groupHelp(loaded, globals, ui.style), words: before };
    throw new UserError("ARC2000", `\`arc ${loaded.name}\` needs a command`, { hint: `one of ${loaded.commands.map((known) => known.name).join(", ")}` });
  }
  const found = loaded.commands.find((candidate) => candidate.name === name);
  if (found === undefined) throw unknownCommand(name, `arc ${loaded.name}`, loaded.commands.map((known) => known.name));
  return { command: found, path: `arc ${loaded.name} ${found.name}`, words: [...before, ...words] };
}

/** Options that stand before the command's name: only global ones may. */
function splitLeading(argv: readonly string[]): { leading: string[]; words: string[] } {
  const leading: string[] = [];
  let at = 0;
  while (at < argv.length && (argv[at] ?? "").startsWith("-")) {
    leading.push(argv[at] ?? "");
    at += 1;
    if (leading.at(-1) === "--fields" && at < argv.length) leading.push(argv[at++] ?? "");
  }
  return { leading, words: argv.slice(at) };
}

function unknownCommand(name: string, parent: string, known: readonly string[]): UserError {
  const hint = didYouMean(name, known) ?? `\`${parent} --help\` lists them`;
  return new UserError("ARC2000", `unknown command \`${parent} ${escapeLine(name)}\``, { hint });
}

function parseCommand(found: Extract<Found, { command: AnyCommand }>, world: World): Ready {
  const { command, path, words } = found;
  const args: Args = { ...command.args, ...globals };
  const end = words.indexOf("--");
  const wantsHelp = words.slice(0, end < 0 ? words.length : end).some((word) => word === "-h" || word === "--help");
  if (wantsHelp) {
    const helpOf = async (ui: Ui): Promise<number> => {
      const context: Context = { ui, env: world.env, cwd: world.cwd, signal: world.signal, stdin: world.stdin };
      const more = await command.moreHelp?.(words, context);
      const text = commandHelp(path, command, globals, ui.style);
      return page(ui, more === undefined ? text : `${text}\n\n${more}`);
    };
    return { globals: { json: words.includes("--json") }, run: helpOf };
  }
  const { values, extra } = parseArgs(words, args, { command: path, env: world.env, collectExtra: command.collectExtra });
  const shared = values as Values<typeof globals>;
  return {
    globals: shared,
    run: async (ui) => {
      const context: Context = { ui, env: world.env, cwd: world.cwd, signal: world.signal, stdin: world.stdin };
      // The parser has just built exactly the shape the command declared.
      return (await command.run(values as never, context, extra)) ?? Exit.ok;
    },
  };
}

function parseHelp(found: Extract<Found, { help: (ui: Ui) => string }>, world: World): Ready {
  const { values } = parseArgs(found.words, globals, { command: "arc", env: world.env });
  return { globals: values as Values<typeof globals>, run: async (ui) => page(ui, found.help(ui)) };
}

function page(ui: Ui, text: string): number {
  ui.done({ help: text }, () => text);
  return Exit.ok;
}

function makeUi(world: World, chosen: Partial<Values<typeof globals>>): Ui {
  return new Ui({
    stdout: world.stdout,
    stderr: world.stderr,
    env: world.env,
    json: chosen.json ?? false,
    quiet: chosen.quiet ?? false,
    verbose: chosen.verbose ?? false,
    progress: !(chosen.noProgress ?? false) && (world.env["CI"] ?? "") === "",
    fields: chosen.fields ?? [],
    ask: world.ask,
  });
}
