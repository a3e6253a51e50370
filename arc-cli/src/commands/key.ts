//! `arc key`: the keys that vouch for bundles.

import { command, group, positional } from "../command.ts";
import { configDir } from "../config.ts";
import { table } from "../table.ts";
import { DEFAULT_KEY, keyName, listKeys, makeKey, requireKey } from "../trust/keys.ts";

const create = command({
  name: "new",
  summary: "Make a key to sign bundles with",
  description: "An Ed25519 key, stored in arc's configuration directory, readable by its owner alone. `arc build` signs with the key called default.",
  args: { name: positional({ value: "NAME", help: `Name of the key; absent: ${DEFAULT_KEY}`, optional: true }) },
  examples: ["arc key new", "arc key new release"],
  async run({ name = DEFAULT_KEY }, { ui, env }) {
    const key = await makeKey(configDir(env), keyName(name));
    ui.done({ name, keyId: key.keyId }, () => `${name}  ${key.keyId}`);
  },
});

const list = command({
  name: "list",
  summary: "List the keys here",
  args: {},
  async run(_args, { ui, env }) {
    const keys = (await listKeys(configDir(env))).map(({ name, keyId }) => ({ name, keyId }));
    ui.done(keys, () => (keys.length === 0 ? "no key yet; `arc key new` makes one" : table(["NAME", "KEY"], keys.map((key) => [key.name, key.keyId]))));
  },
});

const show = command({
  name: "show",
  summary: "Print the public half of a key",
  description: "PEM (SubjectPublicKeyInfo), to give to whoever runs a device, or to verify a signature with other tools.",
  args: { name: positional({ value: "NAME", help: `Name of the key; absent: ${DEFAULT_KEY}`, optional: true }) },
  examples: ["arc key show > author.pem"],
  async run({ name = DEFAULT_KEY }, { ui, env }) {
    const key = await requireKey(configDir(env), name);
    const pem = key.publicKey.export({ type: "spki", format: "pem" }).toString();
    ui.done({ name, keyId: key.keyId, publicKeyPem: pem }, () => pem.trimEnd());
  },
});

export const key = group({
  name: "key",
  summary: "Keys that vouch for bundles: new, list, show",
  commands: [create, list, show],
});
