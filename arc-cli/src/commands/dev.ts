//! `arc dev`: save, and the device has it.

import { resolve } from "node:path";

import { readInput } from "../client/input.ts";
import { command, flag, option, positional } from "../command.ts";
import { configDir } from "../config.ts";
import { rootAbove } from "../compiler/stamp.ts";
import { DevSession } from "../dev/session.ts";
import { Workshop } from "../dev/swap.ts";
import { watchProject } from "../dev/watch.ts";
import { Exit, UserError } from "../errors.ts";
import { contentsOf } from "../compiler/session.ts";
import { DEFAULT_KEY, findKey } from "../trust/keys.ts";

const KEYS = "i call again   l logs   r restart   q quit";

export const dev = command({
  name: "dev",
  summary: "Build on every save and swap it on the device",
  description:
    "Uses the daemons of this machine when they answer, else the current device, and says which. Each good build is installed under a version of its own (0.1.1-dev.…) and answers at once; it is removed when arc dev ends. Errors are shown and never end it. Keys: i calls the tool again with the same input, l shows its logs, r starts from nothing, q quits.",
  args: {
    dir: positional({ value: "DIR", help: "The project; default is the current directory or the nearest above it", optional: true }),
    tool: option({ value: "TOOL", help: "Tool that `i` calls; absent: the first" }),
    input: option({ value: "JSON", help: "Input for it as JSON or @FILE; absent: one made from its schema" }),
    invoke: flag({ help: "Call it after every swap too" }),
    context: option({ value: "NAME", help: "Device to use" }),
  },
  examples: ["arc dev", `arc dev --tool forecast --input '{"city":"Oslo"}' --invoke`, "arc dev --json"],
  async run({ dir, tool, input, invoke, context: name }, context) {
    const { ui, cwd, env, signal, stdin } = context;
    const root = rootAbove(resolve(cwd, dir ?? "."));
    if (root === undefined) throw new UserError("ARC1080", `no arc.toml in ${resolve(cwd, dir ?? ".")} or above it`, { exit: Exit.notFound, hint: "begin with `arc new NAME --template tool`" });
    if (input === "-") throw new UserError("ARC2052", "standard input has the keys here", { hint: "give the input as JSON or @FILE" });
    const options = { context: name, tool, input: input === undefined ? undefined : await readInput(input, stdin) };
    const session = new DevSession(new Workshop(root, await findKey(configDir(env), DEFAULT_KEY), await contentsOf(env)), options, context);
    await session.open();
    const changes = watchProject(root);
    const stop = Promise.withResolvers<"stop">();
    signal.addEventListener("abort", () => stop.resolve("stop"), { once: true });
    try {
      await session.step();
      if (stdin.tty && !ui.json) ui.note(ui.errStyle.dim(KEYS));
      const keys = stdin.tty ? keyPresses(stdin.keys?.() ?? stdin.chunks()) : undefined;
      if (invoke) await session.invoke();
      let [change, key] = [changes.next(), keys?.next()];
      for (;;) {
        const retry = session.retryMs === undefined ? [] : [Bun.sleep(session.retryMs).then(() => "retry" as const)];
        const what = await Promise.race([change.then(() => "change" as const), stop.promise, ...retry, ...(key === undefined ? [] : [key.then(({ value, done }) => (done === true ? ("end" as const) : { key: value }))])]);
        if (what === "stop") return signal.aborted ? Exit.interrupted : Exit.ok;
        if (what === "change") {
          change = changes.next();
          await session.step();
          if (invoke) await session.invoke();
        } else if (what === "retry") await session.step(true);
        else if (what === "end") key = undefined;
        else {
          key = keys?.next();
          if (what.key === "q" || what.key === "\u0003" || what.key === "\u0004") return Exit.ok;
          if (what.key === "i") await session.invoke();
          else if (what.key === "l") await session.toggleLogs();
          else if (what.key === "r") await session.restart();
          else if (what.key === "h" || what.key === "?") ui.note(KEYS);
        }
      }
    } finally {
      changes.close();
      await session.close();
      if (stdin.tty) stdin.keysDone?.();
    }
  },
});

/** Single letters; what arrives together comes one by one. */
async function* keyPresses(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string, void> {
  for await (const chunk of chunks) for (const letter of new TextDecoder().decode(chunk)) yield letter;
}
