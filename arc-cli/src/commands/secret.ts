//! `arc secret`: values the device adds to requests of runs that hold `secret:<name>`. They are never shown again.

import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { CALL_TIMEOUT_MS, contextOption, withDevice } from "../client/session.ts";
import { type Context, command, group, option, positional } from "../command.ts";
import { UserError } from "../errors.ts";
import { escapeLine } from "../escape.ts";
import type { Secret } from "../gen/aria/v1/secrets_pb.ts";
import { table } from "../table.ts";

/** The device takes no more; one more byte tells. */
const VALUE_BYTES_MAX = 4096;
const PLACE = "{}";

const set = command({
  name: "set",
  summary: "Store a value, read from standard input or a file",
  description: "The value is sealed on the device and goes out only in the given header of https requests to the given hosts, for runs that hold secret:NAME. One line break at its end is not part of it.",
  args: {
    name: positional({ value: "NAME", help: "Name of the secret, as in the token secret:NAME" }),
    host: option({ value: "HOST", help: "Host it is for, for example api.example.com or api.example.com:8443", repeat: true, parse: hostName }),
    header: option({ value: "HEADER", help: "Header that carries it, with {} for the value", default: "Authorization: Bearer {}", parse: headerText }),
    file: option({ value: "PATH", help: "Read the value from this file" }),
    context: contextOption,
  },
  examples: ["arc secret set stripe --host api.stripe.com < key.txt", "arc secret set search --host api.search.example --header 'X-Api-Key: {}' --file key.txt"],
  async run({ name, host, header, file, context: device }, context) {
    const { ui, signal } = context;
    if (host.length === 0) throw new UserError("ARC2080", "a secret needs a host", { hint: "give --host HOST for each host that may get it" });
    const value = await readValue(file, context);
    const answer = await withDevice(device, context, `set secret ${name}`, (open) => open.secrets.setSecret({ secret: { name, hosts: [...host], header }, value }, { signal, timeoutMs: CALL_TIMEOUT_MS }));
    const stored = answer.secret;
    if (stored === undefined) throw new UserError("ARC3009", "set a secret: the device answered without one");
    ui.done({ secret: secretJson(stored) }, () => escapeLine(`${stored.name} goes to ${stored.hosts.join(", ")} as ${stored.header}`));
  },
});

const ls = command({
  name: "ls",
  summary: "List the secrets, without their values",
  args: { context: contextOption },
  async run({ context: device }, context) {
    const { ui, signal } = context;
    const { secrets } = await withDevice(device, context, "list the secrets", (open) => open.secrets.listSecrets({}, { signal, timeoutMs: CALL_TIMEOUT_MS }));
    ui.done(secrets.map(secretJson), () =>
      secrets.length === 0 ? "no secret is stored" : table(["NAME", "HOSTS", "HEADER", "SET"], secrets.map((found) => [found.name, found.hosts.join(", "), found.header, setAt(found)])),
    );
  },
});

const rm = command({
  name: "rm",
  summary: "Forget a secret",
  args: { name: positional({ value: "NAME", help: "Secret to forget" }), context: contextOption },
  examples: ["arc secret rm stripe"],
  async run({ name, context: device }, context) {
    const { ui, signal } = context;
    await withDevice(device, context, `remove secret ${name}`, (open) => open.secrets.removeSecret({ name }, { signal, timeoutMs: CALL_TIMEOUT_MS }));
    ui.done({ removed: name }, () => `removed ${escapeLine(name)}`);
  },
});

export const secret = group({ name: "secret", summary: "Values the device adds to requests of tools: set, ls, rm", commands: [set, ls, rm] });

async function readValue(file: string | undefined, { cwd, stdin }: Context): Promise<string> {
  const bytes = file === undefined ? await readStdin(stdin.chunks()) : await readFile(resolve(cwd, file)).catch((cause: unknown) => {
    throw new UserError("ARC2081", `the file ${file} cannot be read`, { cause });
  });
  const value = new TextDecoder().decode(bytes).replace(/\r?\n$/, "");
  if (value === "") throw new UserError("ARC2082", "the value is empty", { hint: "pipe it into the command or give --file PATH" });
  return value;
}

async function readStdin(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of chunks) {
    pieces.push(piece);
    length += piece.length;
    if (length > VALUE_BYTES_MAX + 2) throw new UserError("ARC2083", `the value is longer than ${VALUE_BYTES_MAX} bytes`);
  }
  return Buffer.concat(pieces);
}

function secretJson(secret: Secret): Record<string, unknown> {
  return { name: secret.name, hosts: secret.hosts, header: secret.header, setAt: setAt(secret) };
}

function setAt({ setAtMs }: Secret): string {
  return new Date(Number(setAtMs)).toISOString();
}

function hostName(text: string): string {
  if (!/^[a-z0-9._-]{1,63}(?::[1-9][0-9]{0,4})?$/.test(text)) throw new Error("must be a host in lower case, with a port or without, without a scheme");
  return text;
}

function headerText(text: string): string {
  if (!/^[^\s:]+:/.test(text) || text.split(PLACE).length !== 2) throw new Error("must look like \"Authorization: Bearer {}\", with {} once");
  return text;
}
