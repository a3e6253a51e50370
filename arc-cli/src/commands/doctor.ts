//! `arc doctor`: is everything there that a call needs, and if not, what to type.

import { X509Certificate } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { keySha256, publicKeySha256 } from "../client/der.ts";
import { CALL_TIMEOUT_MS, contextOption, withDevice } from "../client/session.ts";
import { type Context, command } from "../command.ts";
import { type Config, configDir, loadConfig, type StoredContext } from "../config.ts";
import { type Credentials, credentials, device, type Finding, noDevice, toolchain, unreachable } from "../doctor.ts";
import { errorJson, UserError } from "../errors.ts";
import { escapeLine } from "../escape.ts";

export const doctor = command({
  name: "doctor",
  summary: "Check toolchain, credentials and device",
  description: "Every finding has a code (`arc explain`), a cause, and a command that helps. Exit 0 when nothing is wrong.",
  args: { context: contextOption },
  async run({ context: name }, context) {
    const { ui, env } = context;
    const dir = configDir(env);
    const config = await loadConfig(dir);
    const findings = [toolchain(Bun.version), ...(await credentialFindings(config, dir)), ...(await deviceFindings(name ?? config.current, context))];
    const worst = findings.find(({ level }) => level === "error");
    ui.done({ healthy: worst === undefined, findings: findings.map(({ exit: _exit, ...finding }) => finding) }, () => findings.map((finding) => line(finding, context)).join("\n"));
    return worst?.exit ?? 0;
  },
});

async function credentialFindings(config: Config, dir: string): Promise<Finding[]> {
  const all = await Promise.all(Object.entries(config.contexts).map(([name, stored]) => read(name, stored, dir)));
  const now = Date.now();
  return all.filter((found) => found !== undefined).flatMap((found) => credentials(found, now));
}

/** A context that only uses the socket has no need of its certificate. */
async function read(name: string, stored: StoredContext, dir: string): Promise<Credentials | undefined> {
  if (stored.address === "") return undefined;
  const certificate = await readFile(join(dir, stored.certificate), "utf8").then((text) => new X509Certificate(text)).catch(() => undefined);
  const caReadable = await readFile(join(dir, stored.ca), "utf8").then((text) => new X509Certificate(text) !== undefined).catch(() => false);
  const keyPath = join(dir, stored.key);
  const keyMode = await stat(keyPath).then(({ mode }) => mode, () => undefined);
  const keyMatches = await readFile(keyPath, "utf8").then((key) => certificate !== undefined && keySha256(key) === publicKeySha256(certificate.toString())).catch(() => false);
  const time = (text: string | undefined): number | undefined => (text === undefined ? undefined : Date.parse(text));
  return { context: name, notBefore: time(certificate?.validFrom), notAfter: time(certificate?.validTo), caReadable, keyMode, keyMatches };
}

async function deviceFindings(name: string | undefined, context: Context): Promise<Finding[]> {
  if (name === undefined) return [noDevice()];
  try {
    return await withDevice(name, context, "ask the device", async ({ node }) => {
      const before = Date.now();
      const answer = await node.getNode({}, { signal: context.signal, timeoutMs: CALL_TIMEOUT_MS });
      const after = Date.now();
      return device(name, answer, after - before, (before + after) / 2);
    });
  } catch (error) {
    if (!(error instanceof UserError) || context.signal.aborted) throw error;
    return [unreachable(name, errorJson(error), error.exit)];
  }
}

function line({ code, level, about, text, fix }: Finding, { ui: { style } }: Context): string {
  const mark = { ok: style.green("ok     "), warning: style.yellow("warning"), error: style.red("error  ") }[level];
  const head = `${mark} ${escapeLine(about)}: ${escapeLine(text)}${level === "ok" ? "" : style.dim(` [${code}]`)}`;
  return [head, ...fix.map((command) => `        fix  ${escapeLine(command)}`)].join("\n");
}
