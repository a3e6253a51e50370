// Certificates for clients that are not arc: the enrolled one, one of another authority, one the device's own authority signed but
// nobody enrolled, and none at all; and the ways such a client connects.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { bun, root, run, type Host, type Run } from "../stand/host.ts";

export const PROTO = join(root, "crates/protocol/proto");
export const BUF = join(root, "tests/node_modules/@bufbuild/buf/bin/buf");

export interface Identity {
  ca: string;
  certificate: string;
  key: string;
}

export function enrolled(host: Host, context = "dev"): Identity {
  const dir = join(host.configDir, "contexts", context);
  return { ca: join(dir, "ca.pem"), certificate: join(dir, "client.pem"), key: join(dir, "client.key") };
}

async function openssl(...args: string[]): Promise<void> {
  const done = await run(["openssl", ...args]);
  if (done.code !== 0) throw new Error(`openssl ${args[0]}: ${done.stderr}`);
}

const newKey = (path: string): Promise<void> => openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path);

/** A client certificate signed by this authority, for a fresh key. */
async function issue(dir: string, name: string, ca: { certificate: string; key: string }, subject: string): Promise<{ certificate: string; key: string }> {
  const [key, request, certificate, extensions] = ["key", "csr", "pem", "ext"].map((end) => join(dir, `${name}.${end}`)) as [string, string, string, string];
  await newKey(key);
  writeFileSync(extensions, "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\n");
  await openssl("req", "-new", "-key", key, "-subj", `/CN=${subject}`, "-out", request);
  await openssl("x509", "-req", "-in", request, "-CA", ca.certificate, "-CAkey", ca.key, "-CAcreateserial", "-days", "1", "-extfile", extensions, "-out", certificate);
  return { certificate, key };
}

/** Trusts the device, but shows a certificate of an authority the device does not know, with an enrolled subject. */
export async function stranger(host: Host, dir: string, subject: string): Promise<Identity> {
  const ca = { certificate: join(dir, "other-ca.pem"), key: join(dir, "other-ca.key") };
  await newKey(ca.key);
  await openssl("req", "-x509", "-key", ca.key, "-subj", "/CN=other CA", "-days", "1", "-out", ca.certificate);
  return { ca: enrolled(host).ca, ...(await issue(dir, "stranger", ca, subject)) };
}

/** Signed by the device's own authority, with an enrolled subject, but for a key nobody enrolled. Reads the stand's own data directory. */
export async function unenrolled(host: Host, dir: string, subject: string): Promise<Identity> {
  const text = readFileSync(join(host.dir, "aria/identity/ca.pem"), "utf8");
  const block = (kind: string): string => new RegExp(`-----BEGIN ${kind}-----[\\s\\S]*?-----END ${kind}-----`).exec(text)?.[0] ?? "";
  const ca = { certificate: join(dir, "device-ca.pem"), key: join(dir, "device-ca.key") };
  writeFileSync(ca.certificate, `${block("CERTIFICATE")}\n`);
  writeFileSync(ca.key, `${block("[A-Z ]*PRIVATE KEY")}\n`);
  return { ca: enrolled(host).ca, ...(await issue(dir, "unenrolled", ca, subject)) };
}

/** `buf curl` over gRPC with reflection. */
export function bufCurl(host: Host, method: string, body: unknown, identity: Partial<Identity>, options: string[] = []): Promise<Run> {
  const tls = [...(identity.ca === undefined ? [] : ["--cacert", identity.ca]), ...(identity.certificate === undefined || identity.key === undefined ? [] : ["--cert", identity.certificate, "--key", identity.key])];
  return run([bun, BUF, "curl", "--protocol", "grpc", ...tls, ...options, "--data", JSON.stringify(body), `https://${host.listen}/${method}`], { env: { HOME: host.dir, BUF_CACHE_DIR: join(host.dir, "buf-cache") } });
}

export function buf(args: string[], cwd: string): Promise<Run> {
  return run([bun, BUF, ...args], { cwd, env: { BUF_CACHE_DIR: "/tmp/aria-buf-cache" } });
}

/** Documents of `buf curl`, which prints one after the other. */
export function documents(text: string): unknown[] {
  return text.trim() === "" ? [] : (JSON.parse(`[${text.trim().replaceAll(/\}\s*\n?\s*\{(?=\s*\n)/g, "},{")}]`) as unknown[]);
}
