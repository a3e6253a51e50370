//! Becoming an identity of a device: over its socket, or over TCP with a key it was told to expect.

import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { rename, rm } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { connect as connectTls, type DetailedPeerCertificate } from "node:tls";
import { type Config, type StoredContext, updateConfig, writePrivate } from "../config.ts";
import { DeviceError, Exit, UserError } from "../errors.ts";
import type { EnrollResponse } from "../gen/aria/v1/node_pb.ts";
import { splitAddress } from "./address.ts";
import type { Target } from "./channel.ts";
import { certificateDer, certificateRequest, certificateSha256, keySha256, pem, publicKeySha256, selfSigned } from "./der.ts";
import { CALL_TIMEOUT_MS, withTarget } from "./session.ts";
import { deviceError, refusedCertificate } from "./status.ts";

const HANDSHAKE_TIMEOUT_MS = 10_000;
/** A device has one authority and a leaf; a longer chain is a loop or an attack. */
const CHAIN_MAX = 5;

/** `user@host`, made of the characters a device accepts. */
export function defaultSubject(): string {
  const text = `${userName()}@${hostname()}`.replace(/[^A-Za-z0-9._@-]/g, "-").replace(/^[^A-Za-z0-9]+/, "");
  // Room for the suffix that makes it unique when it is taken.
  return text.slice(0, 54);
}

/** From the user database, because environment variables survive sudo and are absent in services. */
function userName(): string {
  const uid = process.getuid?.() ?? 0;
  let entries: string[] = [];
  try {
    entries = readFileSync("/etc/passwd", "utf8").split("\n");
  } catch {
    // A machine without the file has numbers only.
  }
  return entries.map((line) => line.split(":")).find((fields) => fields[2] === String(uid))?.[0] ?? `uid${uid}`;
}

/** Asks the device to sign the key. A default subject that another key holds is made unique with this key's hash. */
export async function enrol(target: Target, keyPem: string, subject: string | undefined, signal: AbortSignal, doing: string): Promise<EnrollResponse> {
  const wanted = subject ?? defaultSubject();
  const ask = (name: string): Promise<EnrollResponse> =>
    withTarget(target, signal, doing, (device) => device.node.enroll({ csrDer: certificateRequest(keyPem, name), subject: name }, { signal, timeoutMs: CALL_TIMEOUT_MS }));
  let answer: EnrollResponse;
  try {
    answer = await ask(wanted);
  } catch (error) {
    if (subject !== undefined || !(error instanceof UserError) || error.code !== "SUBJECT_TAKEN") throw error;
    answer = await ask(`${wanted}-${keySha256(keyPem).slice(0, 8)}`);
  }
  checkAnswer(answer, keyPem, doing);
  return answer;
}

/** The certificate must be for our key, and both texts must be certificates, before anything is stored. */
function checkAnswer(answer: EnrollResponse, keyPem: string, doing: string): void {
  let same: boolean;
  try {
    certificateDer(answer.caPem);
    same = publicKeySha256(answer.certificatePem) === keySha256(keyPem);
  } catch (error) {
    throw new DeviceError("ARC3005", `${doing}: the device answered with something that is no certificate`, { exit: Exit.unexpected, cause: error });
  }
  if (!same) throw new DeviceError("ARC3005", `${doing}: the device certified another key`, { exit: Exit.trust });
}

/** Writes the credentials of a context as one directory and points the configuration at it. */
export async function storeContext(dir: string, name: string, keyPem: string, answer: EnrollResponse, place: { readonly address: string; readonly socket?: string }, choose: (config: Config) => boolean): Promise<Config> {
  const draft = join(dir, "contexts", `.${name}.${randomBytes(6).toString("hex")}`);
  const final = join(dir, "contexts", name);
  try {
    await writePrivate(join(draft, "ca.pem"), answer.caPem);
    await writePrivate(join(draft, "client.pem"), answer.certificatePem);
    await writePrivate(join(draft, "client.key"), keyPem);
    return await updateConfig(dir, (config) => {
      const stored: StoredContext = { ...place, node: answer.nodeId, ca: `contexts/${name}/ca.pem`, certificate: `contexts/${name}/client.pem`, key: `contexts/${name}/client.key` };
      return { current: choose(config) ? name : config.current, contexts: { ...config.contexts, [name]: stored } };
    }, () => replaceDir(draft, final));
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}

async function replaceDir(draft: string, final: string): Promise<void> {
  const old = `${draft}.old`;
  await rename(final, old).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error;
  });
  await rename(draft, final);
  await rm(old, { recursive: true, force: true });
}

/** What `device add` needs to speak to a device for the first time: its authority, recognised by fingerprint alone. */
export async function pinnedTarget(address: string, wanted: string, keyPem: string, subject: string | undefined, signal: AbortSignal, doing: string): Promise<Target> {
  const { host, port } = splitAddress(address);
  const certificate = selfSigned(keyPem, subject ?? defaultSubject(), new Date());
  const chain = await presentedChain(host, port, certificate, keyPem, signal, doing);
  const authority = chain.find((der) => certificateSha256(der) === wanted);
  if (authority === undefined) {
    const seen = chain.map((der) => certificateSha256(der)).at(-1);
    throw new DeviceError("ARC3006", `${doing}: the device at ${address} shows another fingerprint`, {
      exit: Exit.trust,
      details: { wanted, presented: seen ?? null },
      hint: `it shows ${seen ?? "none"}; compare with what the device's console prints`,
    });
  }
  // From here on the connection is verified as any other; "localhost" stands in every device's certificate.
  return { kind: "tls", host, port, ca: pem("CERTIFICATE", authority), certificate, key: keyPem, serverName: "localhost" };
}

/** The certificates a server shows. Nothing is trusted here; the caller compares fingerprints. */
async function presentedChain(host: string, port: number, cert: string, key: string, signal: AbortSignal, doing: string): Promise<Uint8Array[]> {
  const { promise, resolve, reject } = Promise.withResolvers<Uint8Array[]>();
  const socket = connectTls({ host, port, cert, key, servername: "localhost", rejectUnauthorized: false, ALPNProtocols: ["h2"] }, () => {
    resolve(certificates(socket.getPeerCertificate(true)));
  });
  socket.setTimeout(HANDSHAKE_TIMEOUT_MS, () => reject(Object.assign(new Error("no handshake in time"), { code: "ETIMEDOUT" })));
  socket.on("error", reject);
  const stop = (): void => reject(signal.reason);
  signal.addEventListener("abort", stop, { once: true });
  try {
    return await promise;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "";
    throw code.includes("ALERT") ? refusedCertificate(doing, code, error) : deviceError(error, doing);
  } finally {
    signal.removeEventListener("abort", stop);
    socket.destroy();
  }
}

function certificates(leaf: DetailedPeerCertificate): Uint8Array[] {
  const found: Uint8Array[] = [];
  let at: DetailedPeerCertificate | undefined = leaf;
  while (at?.raw !== undefined && found.length < CHAIN_MAX) {
    found.push(new Uint8Array(at.raw));
    if (at.issuerCertificate === at) break;
    at = at.issuerCertificate;
  }
  return found;
}
