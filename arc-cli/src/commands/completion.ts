//! `arc completion`: a script for the user's shell, made from the same definitions as the help.

import { type AnyCommand, type Args, command, optionName, positional } from "../command.ts";
import { globals } from "../cli.ts";
import { entries, isGroup } from "../commands.ts";
import { UserError } from "../errors.ts";
import { didYouMean } from "../suggest.ts";

const shells = ["bash", "zsh", "fish"] as const;

export const completion = command({
  name: "completion",
  summary: "Print a completion script for bash, zsh or fish",
  args: { shell: positional({ value: "SHELL", help: "bash, zsh or fish" }) },
  examples: ["source <(arc completion bash)", "arc completion fish > ~/.config/fish/completions/arc.fish"],
  async run({ shell }, { ui }) {
    const known = shells.find((candidate) => candidate === shell);
    if (known === undefined) throw new UserError("ARC2007", `no completion for \`${shell}\``, { hint: didYouMean(shell, shells) ?? `one of ${shells.join(", ")}` });
    const words = await wordLists();
    const script = { bash, zsh, fish }[known](words);
    ui.done({ shell: known, script }, () => script);
  },
});

/** One place where a word can stand: after `arc`, after a command, after a group's command. */
interface Place {
  /** Words before, without `arc`. */
  readonly path: readonly string[];
  readonly options: readonly Choice[];
  readonly commands: readonly Choice[];
}

interface Choice {
  readonly word: string;
  readonly help: string;
}

async function wordLists(): Promise<Place[]> {
  const places: Place[] = [{ path: [], options: choices(globals), commands: entries.map(({ name, summary }) => ({ word: name, help: summary })) }];
  for (const entry of entries) {
    const loaded = await entry.load();
    if (!isGroup(loaded)) places.push(place([entry.name], loaded));
    else {
      places.push({ path: [entry.name], options: choices(globals), commands: loaded.commands.map(({ name, summary }) => ({ word: name, help: summary })) });
      for (const inner of loaded.commands) places.push(place([entry.name, inner.name], inner));
    }
  }
  return places;
}

function place(path: readonly string[], { args, name }: AnyCommand): Place {
  const commands = name === "completion" ? shells.map((word) => ({ word, help: "" })) : name === "help" ? entries.map((entry) => ({ word: entry.name, help: entry.summary })) : [];
  return { path, options: [...choices(args), ...choices(globals)], commands };
}

function choices(args: Args): Choice[] {
  return Object.entries(args)
    .filter(([, arg]) => (arg.kind === "flag" || arg.kind === "option") && !arg.hidden)
    .map(([key, arg]) => ({ word: `--${optionName(key)}`, help: arg.help }));
}

const words = (list: readonly Choice[]): string => list.map(({ word }) => word).join(" ");

function bash(places: readonly Place[]): string {
  const cases = places.map(({ path, options, commands }) => `    "${path.join(" ")}") options="${words(options)}" commands="${words(commands)}" ;;`);
  return `# arc completion for bash
_arc() {
  local current="\${COMP_WORDS[COMP_CWORD]}" path="" word options="" commands="" at
  for ((at = 1; at < COMP_CWORD; at++)); do
    word="\${COMP_WORDS[at]}"
    case "$word" in -*) continue ;; esac
    case "\${path:+$path }$word" in
${places.filter(({ path }) => path.length > 0).map(({ path }) => `      "${path.join(" ")}") path="${path.join(" ")}" ;;`).join("\n")}
    esac
  done
  case "$path" in
${cases.join("\n")}
  esac
  case "$current" in
    -*)
      mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
      [ "$path" != invoke ] || mapfile -t -O "\${#COMPREPLY[@]}" COMPREPLY < <(_arc_ask)
      ;;
    *)
      mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$current")
      [ -n "$commands" ] || mapfile -t COMPREPLY < <(_arc_ask)
      if [ -z "$commands" ] && [ "\${#COMPREPLY[@]}" = 0 ]; then
        compopt -o filenames 2> /dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
      fi
      ;;
  esac
}
# What only arc knows: names of tools, devices, keys, and a tool's own options.
_arc_ask() {
  "\${COMP_WORDS[0]}" __complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2> /dev/null | cut -f 1
}
complete -F _arc arc`;
}

function zsh(places: readonly Place[]): string {
  const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
  const list = (choices: readonly Choice[]): string => choices.map(({ word, help }) => quote(`${word}:${help.replaceAll(":", "\\:")}`)).join(" ");
  const cases = places.map(({ path, options, commands }) => `    ${quote(path.join(" "))}) options=(${list(options)}); commands=(${list(commands)}) ;;`);
  return `#compdef arc
_arc() {
  local word path=""
  local -a options commands
  for word in "\${(@)words[2,CURRENT-1]}"; do
    [[ $word == -* ]] && continue
    case "\${path:+$path }$word" in
${places.filter(({ path }) => path.length > 0).map(({ path }) => `      ${quote(path.join(" "))}) path=${quote(path.join(" "))} ;;`).join("\n")}
    esac
  done
  case $path in
${cases.join("\n")}
  esac
  local -a asked
  if [[ $words[CURRENT] == -* ]]; then
    if [[ $path == invoke ]]; then
      asked=("\${(@f)$(arc __complete -- "\${(@)words[2,CURRENT]}" 2> /dev/null)}")
      asked=("\${(@)asked//$'\\t'/:}")
      _describe input asked
    fi
    _describe option options
  elif (( \${#commands} )); then
    _describe command commands
  else
    asked=("\${(@f)$(arc __complete -- "\${(@)words[2,CURRENT]}" 2> /dev/null | cut -f 1)}")
    asked=(\${asked:#})
    if (( \${#asked} )); then compadd -a asked; else _files; fi
  fi
}
compdef _arc arc`;
}

function fish(places: readonly Place[]): string {
  const quote = (text: string): string => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
  const lines = places.flatMap(({ path, options, commands }) => {
    const seen = path.map((word) => `__fish_seen_subcommand_from ${word}`);
    const none = commands.length > 0 ? [`not __fish_seen_subcommand_from ${words(commands)}`] : [];
    const condition = [...seen, ...none].join("; and ");
    const when = condition === "" ? "" : ` -n ${quote(condition)}`;
    return [
      ...commands.map(({ word, help }) => `complete -c arc${when} -f -a ${word} -d ${quote(help)}`),
      ...options.map(({ word, help }) => `complete -c arc${path.length === 0 ? "" : when} -l ${word.slice(2)} -d ${quote(help)}`),
    ];
  });
  const ask = "complete -c arc -n 'test (count (commandline -opc)) -gt 1' -a '(arc __complete -- (commandline -opc)[2..] (commandline -ct) 2> /dev/null)'";
  return ["# arc completion for fish", ...new Set(lines), "# What only arc knows: names of tools, devices, keys, and a tool's own options.", ask].join("\n");
}
