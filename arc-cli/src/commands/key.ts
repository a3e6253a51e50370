//! `arc key`: the keys that vouch for bundles, here and on devices.

import { createPublicKey } from "node:crypto";
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";

import { keyIdOf } from "../bundle/signature.ts";
import { command, flag, group, option, positional } from "../command.ts";
import { configDir } from "../config.ts";
import { Exit, UserError } from "../errors.ts";
import { escapeLine } from "../escape.ts";
import { table } from "../table.ts";
import { DEFAULT_KEY, findKey, keyName, listKeys, makeKey, requireKey } from "../trust/keys.ts";
import { endOfTime, sha256Digest } from "../values.ts";

/** Most keys stay here; what talks to a device loads the client when it runs. */
const client = async () => ({ ...(await import("../client/session.ts")), ...(await import("../client/signers.ts")) });
/** As `contextOption`, without loading the client. */
const context = option({ value: "NAME", help: "Device to talk to; absent: the current one", env: "ARC_CONTEXT" });

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
  summary: "List the keys here, or those a device trusts",
  args: { device: flag({ help: "Those the device was ever told to trust" }), context },
  examples: ["arc key list", "arc key list --device"],
  async run({ device: onDevice, context: name }, whole) {
    const { ui, env } = whole;
    const own = (await listKeys(configDir(env))).map(({ name, keyId }) => ({ name, keyId }));
    if (!onDevice) {
      ui.done(own, () => (own.length === 0 ? "no key yet; `arc key new` makes one" : table(["NAME", "KEY"], own.map((key) => [key.name, key.keyId]))));
      return;
    }
    const { CALL_TIMEOUT_MS, signerJson, withDevice } = await client();
    const { signers } = await withDevice(name, whole, "list signers", (device) => device.trust.listSigners({}, { signal: whole.signal, timeoutMs: CALL_TIMEOUT_MS }));
    const rows = signers.map((signer) => ({ ...signerJson(signer), name: own.find((key) => key.keyId === signer.keyId)?.name ?? null }));
    ui.done(rows, () => {
      if (rows.length === 0) return "the device trusts no key, so it takes no bundle; `arc key trust` makes it trust yours";
      return table(["KEY", "PUBLISHER", "TRUSTED UNTIL", "HERE"], rows.map((row) => [row.keyId, row.publisher, row.revokedAt === null ? (row.expiresAt ?? "no end") : `revoked ${row.revokedAt}`, row.name ?? ""]));
    });
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

const trust = command({
  name: "trust",
  summary: "Make a device take bundles that a key signed",
  description:
    "The key is yours (NAME) or somebody's public key in PEM (--file). It speaks for a publisher, and a bundle's name belongs to the publisher who had it first. Another key for the same publisher is a rotation and needs --joins. A revoked key is never trusted again.",
  args: {
    name: positional({ value: "NAME", help: `Name of a key here; absent: ${DEFAULT_KEY}`, optional: true }),
    file: option({ value: "PEM", help: "A public key in PEM, as `arc key show` prints it, instead of a key here" }),
    as: option({ value: "PUBLISHER", help: "Whom it speaks for; absent: this identity's name on the device" }),
    joins: flag({ help: "The publisher has a key already, and this is one more" }),
    expires: option({ value: "DATE", help: "Take nothing it signs from then on; what is installed stays. RFC 3339 or YYYY-MM-DD", parse: endOfTime }),
    context,
  },
  examples: ["arc key trust", "arc key trust --file author.pem --as ann --expires 2027-01-01", "arc key trust release --as ann --joins"],
  async run({ name, file, as: publisher = "", joins, expires = "", context: device }, whole) {
    const { ui, cwd, env, signal } = whole;
    if (file !== undefined && name !== undefined) throw new UserError("ARC2076", "NAME and --file exclude each other");
    const { CALL_TIMEOUT_MS, publicKeyDer, signerJson, withDevice } = await client();
    const key = file === undefined ? await requireKey(configDir(env), name ?? DEFAULT_KEY) : { publicKey: await publicKeyIn(resolve(cwd, file), file) };
    const answer = await withDevice(device, whole, "trust a key", (to) =>
      to.trust.trustSigner({ publicKey: publicKeyDer(key), publisher, joins, expiresAt: expires }, { signal, timeoutMs: CALL_TIMEOUT_MS }),
    );
    if (answer.signer === undefined) throw new UserError("ARC3009", "trust a key: the device answered without one");
    const signer = signerJson(answer.signer);
    const until = signer.expiresAt === null ? "" : ` until ${signer.expiresAt}`;
    ui.done({ signer, alreadyTrusted: answer.alreadyTrusted }, () => escapeLine(`${signer.keyId} is trusted for ${signer.publisher}${until}${answer.alreadyTrusted ? " (it was before)" : ""}`));
  },
});

const revoke = command({
  name: "revoke",
  summary: "Make a device trust a key no more, for good",
  description: "What the key vouched for stays installed and is not called any more; running calls of it are cancelled. Bundles come back when they are uploaded again with the signature of a trusted key of the same publisher.",
  args: {
    key: positional({ value: "KEY", help: "sha256:… as `arc key list --device` prints it, or the name of a key here" }),
    yes: flag({ short: "y", help: "Do not ask" }),
    context,
  },
  examples: ["arc key revoke default", "arc key revoke sha256:3fb1… --yes"],
  async run({ key: text, yes, context: device }, whole) {
    const { ui, env, signal } = whole;
    const keyId = text.startsWith("sha256:") ? givenKeyId(text) : (await findKey(configDir(env), text))?.keyId;
    if (keyId === undefined) return void (await requireKey(configDir(env), text));
    const { CALL_TIMEOUT_MS, signerJson, withDevice } = await client();
    await withDevice(device, whole, "revoke a key", async (on, chosen) => {
      if (!yes && !(await ui.confirm(`Revoke ${keyId} on ${chosen.name} for good?`, "--yes"))) {
        ui.note("nothing was changed");
        return;
      }
      const { signer, blockedBundles } = await on.trust.revokeSigner({ keyId }, { signal, timeoutMs: CALL_TIMEOUT_MS });
      const blocked = blockedBundles.length === 0 ? [] : [`not called any more: ${blockedBundles.join(" ")}`];
      ui.done({ signer: signer === undefined ? null : signerJson(signer), blockedBundles }, () => [`revoked ${keyId}`, ...blocked.map(escapeLine)].join("\n"));
    });
  },
});

export const key = group({
  name: "key",
  summary: "Keys that vouch for bundles: new, list, show, trust, revoke",
  commands: [create, list, show, trust, revoke],
});

/** A public key in PEM; a private key is refused, because it should never be given away. */
async function publicKeyIn(path: string, shown: string) {
  const text = await readFile(path, "utf8").catch((cause: Error) => {
    throw new UserError("ARC2072", `read the key ${shown}: ${cause.message}`, { exit: Exit.notFound, cause });
  });
  if (text.includes("PRIVATE KEY")) throw new UserError("ARC2072", `${shown} holds a private key`, { hint: "give the public half, as `arc key show` prints it; a private key stays with its owner" });
  try {
    const key = createPublicKey(text);
    keyIdOf(key);
    if (key.asymmetricKeyType === "ed25519") return key;
  } catch (cause) {
    throw new UserError("ARC2072", `${shown} holds no public key in PEM`, { cause });
  }
  throw new UserError("ARC2072", `${shown} holds a key that is not Ed25519`);
}

function givenKeyId(text: string): string {
  try {
    return sha256Digest(text);
  } catch (error) {
    throw new UserError("ARC2007", `KEY ${(error as Error).message}`, { exit: Exit.usage });
  }
}
