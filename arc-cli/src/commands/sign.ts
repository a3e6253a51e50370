//! `arc sign`: one signature more on a bundle file that exists.

import { resolve } from "node:path";

import { openBundle, signBundle } from "../bundle/layout.ts";
import { command, option, positional } from "../command.ts";
import { configDir } from "../config.ts";
import { DEFAULT_KEY, requireKey } from "../trust/keys.ts";
import { writeWhole } from "./build.ts";
import { readBundle } from "./inspect.ts";

export const sign = command({
  name: "sign",
  summary: "Sign a bundle file",
  description: "Adds this key's signature beside those that are there. The bundle keeps its identity; signing again with the same key changes nothing.",
  args: {
    file: positional({ value: "FILE", help: "A bundle made by `arc build`" }),
    key: option({ value: "NAME", help: "Key to sign with", default: DEFAULT_KEY }),
    out: option({ value: "FILE", help: "Where to write it; absent: in place", short: "o" }),
  },
  examples: ["arc sign weather-0.1.0.aria", "arc sign weather-0.1.0.aria --key release"],
  async run({ file, key: name, out }, { ui, cwd, env }) {
    const key = await requireKey(configDir(env), name);
    const { bytes } = readBundle(resolve(cwd, file), file);
    const signed = signBundle(bytes, key.privatePem);
    const path = resolve(cwd, out ?? file);
    writeWhole(path, signed);
    const { digest, envelope } = openBundle(signed);
    const signers = envelope?.signatures.map((one) => one.keyId) ?? [];
    ui.done({ file: path, digest, signer: key.keyId, signers }, () => `signed by ${key.keyId} (${key.name}), ${signers.length} in all`);
  },
});
