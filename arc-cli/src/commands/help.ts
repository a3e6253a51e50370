//! `arc help [command…]`: the same pages as `--help`.

import { command, positional } from "../command.ts";
import { runCli } from "../cli.ts";

export const help = command({
  name: "help",
  summary: "Help on arc or one of its commands",
  args: { words: positional({ value: "COMMAND", help: "Command to explain", optional: true, repeat: true }) },
  async run({ words }, { ui, env, cwd, signal, stdin }) {
    const json = ui.json ? ["--json"] : [];
    return await runCli([...words, "--help", ...json], { stdout: ui.stdout, stderr: ui.stderr, stdin, env, cwd, signal });
  },
});
