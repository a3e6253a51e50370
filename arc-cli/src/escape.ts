//! Text that others wrote (tools, devices, file names) made safe for a terminal.
//!
//! Everything a terminal may act on becomes visible: C0, DEL, C1, bidirectional controls, line separators, lone surrogates.

const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff\u{e0000}-\u{e007f}]/gu;
const SGR_OR_UNSAFE = /\u001b\[[0-9;]*m|[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/gu;

/** One line: newlines and tabs are shown as escapes too. */
export function escapeLine(text: string): string {
  return text.replace(UNSAFE, visible);
}

/** Several lines: newline and tab stay. */
export function escapeText(text: string): string {
  return text.replace(UNSAFE, (char) => (char === "\n" || char === "\t" ? char : visible(char)));
}

/** The last gate of everything arc itself writes for people: only its own colours, newlines and tabs pass. */
export function keepColours(text: string): string {
  return text.replace(SGR_OR_UNSAFE, (found) => (found.length > 1 ? found : visible(found)));
}

/** JSON text with every character a terminal may act on written as `\uXXXX`; the value stays the same. */
export function escapeJson(json: string): string {
  return json.replace(UNSAFE, (char) => (char === "\n" || char === "\t" || char === "\r" ? char : units(char)));
}

function visible(char: string): string {
  if (char === "\n") return "\\n";
  if (char === "\r") return "\\r";
  if (char === "\t") return "\\t";
  return `\\u{${(char.codePointAt(0) ?? 0).toString(16)}}`;
}

function units(char: string): string {
  let out = "";
  for (let at = 0; at < char.length; at++) out += `\\u${char.charCodeAt(at).toString(16).padStart(4, "0")}`;
  return out;
}
