//! Identities of a device, below `arc device`: who is enrolled, who may come, who may no more, and one's own certificate.

import type { Device, Target } from "../client/channel.ts";
import { type Context, command, flag, option, positional } from "../command.ts";
import { chooseContext, configDir, loadConfig } from "../config.ts";
import { UserError } from "../errors.ts";
import { escapeLine } from "../escape.ts";
import { table } from "../table.ts";
import { duration } from "../values.ts";

const context = option({ value: "NAME", help: "Device to talk to; absent: the current one", env: "ARC_CONTEXT" });
const socket = option({ value: "PATH", help: "The device's own socket instead, as root or group `aria`, with an administrator's rights" });
const client = async () => ({ ...(await import("../client/enrol.ts")), ...(await import("../client/keys.ts")), ...(await import("../client/session.ts")), ...(await import("../client/signers.ts")), ...(await import("../client/der.ts")) });
const WINDOW_S_MAX = 86_400;

/** Over the socket when one is named, else as the context's identity. */
async function on<T>(place: { readonly socket: string | undefined; readonly context: string | undefined }, whole: Context, doing: string, use: (device: Device, shown: string) => Promise<T>): Promise<T> {
  const { withDevice, withTarget } = await client();
  if (place.socket === undefined) return await withDevice(place.context, whole, doing, (device, chosen) => use(device, chosen.name));
  const target: Target = { kind: "socket", path: place.socket };
  const path = place.socket;
  return await withTarget(target, whole.signal, doing, (device) => use(device, path));
}

export const credentials = command({
  name: "credentials",
  summary: "List the keys a device knows as identities",
  description: "Who only calls tools sees its own.",
  args: { socket, context },
  examples: ["arc device credentials", "arc device credentials --socket /run/aria/api.sock"],
  async run({ socket, context }, whole) {
    const { CALL_TIMEOUT_MS } = await client();
    const answer = await on({ socket, context }, whole, "list credentials", (device) => device.node.listCredentials({}, { signal: whole.signal, timeoutMs: CALL_TIMEOUT_MS }));
    const rows = answer.credentials.map(({ keySha256, subject, role, enrolledAt, expiresAt, revokedAt }) => ({ keySha256, subject, role, enrolledAt, expiresAt: expiresAt || null, revokedAt: revokedAt || null }));
    whole.ui.done(rows, () => table(["SUBJECT", "ROLE", "CERTIFICATE UNTIL", "KEY"], rows.map((row) => [row.subject, row.role, row.revokedAt === null ? (row.expiresAt ?? "") : `revoked ${row.revokedAt}`, row.keySha256])));
  },
});

export const invite = command({
  name: "invite",
  summary: "Let somebody's key enrol with a device over the network, once",
  description: "KEY is what `arc device key` prints for the other person. What they type then is printed.",
  args: {
    key: positional({ value: "KEY", help: "Hash of the key, 64 hex digits" }),
    role: option({ value: "ROLE", help: "What it becomes; absent: operator", choices: ["operator", "caller", "admin"] }),
    for: option({ value: "TIME", help: "How long the device waits for it, at most 24h; absent: 1h", parse: windowSeconds }),
    socket,
    context,
  },
  examples: ["arc device invite 3fb1… --role caller --for 10m"],
  async run({ key, role = "", for: windowS = 0, socket, context }, whole) {
    if (!/^[0-9a-f]{64}$/.test(key)) throw new UserError("ARC2007", "KEY must be 64 lower-case hex digits", { hint: "the other person gets it with `arc device key`" });
    const { CALL_TIMEOUT_MS } = await client();
    const { caSha256, listen } = await on({ socket, context }, whole, "invite a key", (device) => device.node.inviteKey({ keySha256: key, role, windowS }, { signal: whole.signal, timeoutMs: CALL_TIMEOUT_MS }));
    whole.ui.done({ keySha256: key, fingerprint: caSha256, listen }, () => `arc device add NAME --address ${escapeLine(listen === "" ? "HOST:PORT" : listen)} --fingerprint ${escapeLine(caSha256)}`);
  },
});

export const revoke = command({
  name: "revoke",
  summary: "End an identity of a device at once",
  description: "A lost laptop: every key of the subject, or one key, is refused from now on, also what it is being served. Operators end operators and callers, administrators (--socket) anybody.",
  args: {
    who: positional({ value: "WHO", help: "A subject, or the hash of a key, as `arc device credentials` prints them" }),
    yes: flag({ short: "y", help: "Do not ask" }),
    socket,
    context,
  },
  examples: ["arc device revoke ann@laptop --yes", "arc device revoke ann@laptop --socket /run/aria/api.sock"],
  async run({ who, yes, socket, context }, whole) {
    const { ui, signal } = whole;
    const { CALL_TIMEOUT_MS } = await client();
    const request = /^[0-9a-f]{64}$/.test(who) ? { keySha256: who } : { subject: who };
    await on({ socket, context }, whole, `revoke ${who}`, async (device, shown) => {
      if (!yes && !(await ui.confirm(`Revoke ${who} on ${shown}?`, "--yes"))) {
        ui.note("nothing was changed");
        return;
      }
      const { keySha256: keys } = await device.node.revoke(request, { signal, timeoutMs: CALL_TIMEOUT_MS });
      ui.done({ revoked: keys }, () => `revoked ${escapeLine(who)}: ${keys.length} ${keys.length === 1 ? "key" : "keys"}`);
    });
  },
});

export const renew = command({
  name: "renew",
  summary: "Get a new certificate from a device before the old one ends",
  description: "Subject and role stay. With --new-key the key is replaced too, and the device refuses the old one from then on.",
  args: { newKey: flag({ help: "Make a new key, and revoke the old one once the new one works" }), context },
  examples: ["arc device renew", "arc device renew --new-key"],
  async run({ newKey, context }, whole) {
    const { ui, env, signal } = whole;
    const { CALL_TIMEOUT_MS, contextKey, contextTarget, enrol, keySha256, newKeyPem, storeContext, subjectOf, withTarget } = await client();
    const dir = configDir(env);
    const config = await loadConfig(dir);
    const chosen = chooseContext(config, dir, context);
    const before = await contextTarget(chosen);
    if (before.kind !== "tls") throw new UserError("ARC2036", `context ${chosen.name} uses the device's socket, which needs no certificate`, { fix: [`arc device init --name ${chosen.name}`] });
    const old = await contextKey(dir, chosen.name);
    const key = newKey ? newKeyPem() : old;
    const answer = await enrol(before, key, subjectOf(before.certificate), signal, `renew on ${chosen.name}`);
    await storeContext(dir, chosen.name, key, answer, { address: chosen.address }, () => config.current === chosen.name);
    if (newKey) {
      const after = await contextTarget(chooseContext(await loadConfig(dir), dir, chosen.name));
      await withTarget(after, signal, "revoke the old key", (device) => device.node.revoke({ keySha256: keySha256(old) }, { signal, timeoutMs: CALL_TIMEOUT_MS }));
    }
    const { X509Certificate } = await import("node:crypto");
    const expires = new Date(new X509Certificate(answer.certificatePem).validTo).toISOString();
    ui.done({ context: chosen.name, expires, newKey, keySha256: keySha256(key) }, () => `${chosen.name}: certificate until ${expires}${newKey ? ", with a new key" : ""}`);
  },
});

function windowSeconds(text: string): number {
  const seconds = Math.ceil(Number(duration(text)) / 1000);
  if (seconds > WINDOW_S_MAX) throw new Error("must be at most 24h");
  return seconds;
}
