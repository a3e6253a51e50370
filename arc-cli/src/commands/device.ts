//! `arc device`: which devices this user knows, and becoming known to them.

import { createHash, X509Certificate } from "node:crypto";
import { readFile, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { fingerprint, splitAddress } from "../client/address.ts";
import { keySha256 } from "../client/der.ts";
import type { Target } from "../client/channel.ts";
import { contextKey, operatorKey } from "../client/keys.ts";
import { type Context, command, flag, group, option, positional } from "../command.ts";
import { chooseContext, configDir, contextName, loadConfig, updateConfig } from "../config.ts";
import { UserError } from "../errors.ts";
import { escapeLine } from "../escape.ts";
import { table } from "../table.ts";
import { type AuthorKey, DEFAULT_KEY } from "../trust/keys.ts";
import { credentials, invite, renew, revoke } from "./identities.ts";

const subject = option({ value: "NAME", help: "How the device calls this identity; absent: user@host" });
const DEFAULT_SOCKET = "/run/aria/api.sock";

/** Only enrolling needs a connection; the other commands of this group start without the gRPC client. */
const client = async () => ({ ...(await import("../client/enrol.ts")), ...(await import("../client/session.ts")), ...(await import("../client/signers.ts")) });

const init = command({
  name: "init",
  summary: "Enrol with the device on this machine, over its socket",
  description:
    "Needs root or the group `aria`. Makes a key, has the device certify it, stores it as a context and chooses it. Makes the signing key called default when there is none, and has the device take bundles that it signed.",
  args: {
    socket: option({ value: "PATH", help: "Socket of the device", default: DEFAULT_SOCKET }),
    name: option({ value: "NAME", help: "Name of the context", default: "local" }),
    subject,
  },
  examples: ["arc device init", "arc device init --socket /run/aria/api.sock --name dev"],
  async run({ socket, name, subject }, whole) {
    const { ui, env, cwd, signal } = whole;
    const { authorKey, enrol, storeContext } = await client();
    const dir = configDir(env);
    const key = await contextKey(dir, contextName(name));
    const author = await authorKey(dir);
    const target = { kind: "socket" as const, path: socket };
    const answer = await enrol(target, key, subject, signal, `enrol over ${socket}`);
    const place = answer.listen === "" ? { address: "", socket: resolve(cwd, socket) } : { address: localAddress(answer.listen) };
    await storeContext(dir, name, key, answer, place, () => true);
    const signer = await trusted(target, author, answer.certificatePem, whole);
    const data = { context: name, node: answer.nodeId, address: place.address, role: answer.role, current: true, signer };
    ui.done(data, () => [`enrolled with ${escapeLine(answer.nodeId)} as ${escapeLine(answer.role)}; context ${name} is the current one`, ...signerLine(signer)].join("\n"));
  },
});

const add = command({
  name: "add",
  summary: "Enrol with a device over the network",
  description:
    "The device must have been given the hash of this user's key (`arc device key`), and prints the fingerprint of its authority on its console. Makes the signing key called default when there is none, and has the device take bundles that it signed.",
  args: {
    name: positional({ value: "NAME", help: "Name of the context" }),
    address: option({ value: "HOST:PORT", help: "Where the device listens", parse: (text) => (splitAddress(text), text) }),
    fingerprint: option({ value: "SHA256", help: "Fingerprint of the device's authority", parse: fingerprint }),
    subject,
  },
  examples: ["arc device add kitchen --address 192.168.1.20:7600 --fingerprint 3fb1…"],
  async run({ name, address, fingerprint: wanted, subject }, whole) {
    const { ui, env, signal } = whole;
    if (address === undefined) throw missing("--address HOST:PORT");
    if (wanted === undefined) throw missing("--fingerprint SHA256");
    const { authorKey, contextTarget, enrol, pinnedTarget, storeContext } = await client();
    const dir = configDir(env);
    contextName(name);
    const { pem } = await operatorKey(dir);
    const author = await authorKey(dir);
    const doing = `enrol with ${address}`;
    const answer = await unlessUnexpected(async () => {
      const target = await pinnedTarget(address, wanted, pem, subject, signal, doing);
      return await enrol(target, pem, subject, signal, doing);
    });
    const config = await storeContext(dir, name, pem, answer, { address }, (before) => before.current === undefined);
    const current = config.current === name;
    // The connection of the enrolment may do nothing else; from here on the certificate counts.
    const signer = await trusted(await contextTarget(chooseContext(config, dir, name)), author, answer.certificatePem, whole);
    const data = { context: name, node: answer.nodeId, address, role: answer.role, current, signer };
    ui.done(data, () => [`enrolled with ${escapeLine(answer.nodeId)} as ${escapeLine(answer.role)}; context ${name}${current ? " is the current one" : ""}`, ...signerLine(signer)].join("\n"));
  },
});

const key = command({
  name: "key",
  summary: "Print the hash of this user's key, to give to a device",
  description: "Makes the key when there is none. A device that was given this hash accepts one enrolment from this key.",
  args: {},
  async run(_args, { ui, env }) {
    const { pem, created } = await operatorKey(configDir(env));
    const hash = keySha256(pem);
    ui.done({ sha256: hash, created }, () => hash);
  },
});

const use = command({
  name: "use",
  summary: "Choose the current device",
  args: { name: positional({ value: "NAME", help: "Name of the context" }) },
  async run({ name }, { ui, env }) {
    const dir = configDir(env);
    await updateConfig(dir, (config) => {
      chooseContext(config, dir, name);
      return { ...config, current: name };
    });
    ui.done({ current: name }, () => `${name} is the current device`);
  },
});

const ls = command({
  name: "ls",
  summary: "List the devices this user knows",
  args: {},
  async run(_args, { ui, env }) {
    const dir = configDir(env);
    const config = await loadConfig(dir);
    const rows = await Promise.all(
      Object.entries(config.contexts).map(async ([name, context]) => ({
        name,
        current: name === config.current,
        node: context.node,
        address: context.address === "" ? (context.socket ?? "") : context.address,
        ...(await certificateFacts(join(dir, context.certificate), join(dir, context.ca))),
      })),
    );
    ui.done(rows, () =>
      rows.length === 0
        ? "no device is known yet; `arc device init` or `arc device add` enrols with one"
        : table(["", "NAME", "NODE", "ADDRESS", "CERTIFICATE UNTIL"], rows.map((row) => [row.current ? "*" : "", row.name, row.node, row.address, row.expires ?? "missing"])),
    );
  },
});

const remove = command({
  name: "rm",
  summary: "Forget a device and its credentials",
  args: {
    name: positional({ value: "NAME", help: "Name of the context" }),
    yes: flag({ short: "y", help: "Do not ask" }),
  },
  async run({ name, yes }, { ui, env }) {
    const dir = configDir(env);
    chooseContext(await loadConfig(dir), dir, name);
    if (!yes && !(await ui.confirm(`Forget ${name} and delete its key?`, "--yes"))) {
      ui.note("nothing was changed");
      return;
    }
    await updateConfig(dir, (config) => {
      const { [name]: _gone, ...contexts } = config.contexts;
      return { current: config.current === name ? undefined : config.current, contexts };
    });
    await rm(join(dir, "contexts", name), { recursive: true, force: true });
    ui.done({ removed: name }, () => `forgot ${name}`);
  },
});

export const device = group({
  name: "device",
  summary: "Devices and identities: init, add, key, use, ls, rm, renew, credentials, invite, revoke",
  commands: [init, add, key, use, ls, remove, renew, credentials, invite, revoke],
});

interface OwnSigner {
  readonly keyId: string;
  readonly publisher: string;
}

/** Makes the author's key one of the device's signers. The enrolment stands whatever becomes of this, so a failure is a warning. */
async function trusted(target: Target, author: AuthorKey, certificatePem: string, { ui, signal }: Context): Promise<OwnSigner | null> {
  const { subjectOf, trustOwnKey, withTarget } = await client();
  try {
    const publisher = await withTarget(target, signal, "trust a key", (device) => trustOwnKey(device, author, subjectOf(certificatePem), signal));
    return { keyId: author.keyId, publisher };
  } catch (error) {
    if (!(error instanceof UserError) || signal.aborted) throw error;
    ui.warn(`the device takes no bundle signed by ${author.keyId}: ${error.message}`);
    return null;
  }
}

function signerLine(signer: OwnSigner | null): string[] {
  return signer === null ? [] : [`it takes bundles signed by ${signer.keyId} (${DEFAULT_KEY}), of ${escapeLine(signer.publisher)}`];
}

/** Before enrolment a refused certificate means that the device does not expect this key (any more). */
async function unlessUnexpected<T>(enrolment: () => Promise<T>): Promise<T> {
  try {
    return await enrolment();
  } catch (error) {
    if (!(error instanceof UserError) || error.code !== "ARC3003") throw error;
    const hint = "it expects another key, this key was enrolled before, or its window is over; give it the hash of this key and start it again";
    throw new UserError(error.code, error.message, { exit: error.exit, hint, fix: ["arc device key"], cause: error });
  }
}

/** A device that listens everywhere is reached from its own machine by the loopback address. */
function localAddress(listen: string): string {
  const { host } = splitAddress(listen);
  if (host === "0.0.0.0") return listen.replace("0.0.0.0", "127.0.0.1");
  return host === "::" ? listen.replace("[::]", "[::1]") : listen;
}

function missing(what: string): UserError {
  return new UserError("ARC2002", `missing ${what}`, { hint: "see `arc device add --help`" });
}

/** Expiry of the client certificate and fingerprint of the authority; null when a file is missing or no certificate. */
async function certificateFacts(certificate: string, ca: string): Promise<{ expires: string | null; fingerprint: string | null }> {
  const read = async <T>(path: string, of: (parsed: X509Certificate) => T): Promise<T | null> => {
    try {
      return of(new X509Certificate(await readFile(path)));
    } catch {
      return null;
    }
  };
  const [expires, found] = await Promise.all([
    read(certificate, (parsed) => new Date(parsed.validTo).toISOString()),
    read(ca, (parsed) => createHash("sha256").update(parsed.raw).digest("hex")),
  ]);
  return { expires, fingerprint: found };
}
