//! `arc doctor`: is everything there that a call needs, and if not, what to type.

import { X509Certificate } from "node:crypto";
import { chmod, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { keySha256, publicKeySha256 } from "../client/der.ts";
import { CALL_TIMEOUT_MS, contextOption, withDevice } from "../client/session.ts";
import { type Context, command, flag } from "../command.ts";
import { rootAbove } from "../compiler/stamp.ts";
import { type Config, configDir, loadConfig, type StoredContext, updateConfig } from "../config.ts";
import { type Credentials, credentials, device, editorTypes, type Finding, noDevice, type Repair, staleLock, toolchain, unreachable } from "../doctor.ts";
import { errorJson, UserError } from "../errors.ts";
import { escapeLine } from "../escape.ts";
import { ARC_VERSION } from "../version.ts";

export const doctor = command({
  name: "doctor",
  summary: "Check toolchain, credentials and device",
  description: "Every finding has a code (`arc explain`), a cause, and a command that helps. Exit 0 when nothing is wrong.",
  args: { fix: flag({ help: "Repair what can be repaired without losing anything, then check again" }), context: contextOption },
  examples: ["arc doctor", "arc doctor --fix"],
  async run({ fix, context: name }, context) {
    const { ui } = context;
    let findings = await examine(name, context);
    const repairs = fix ? findings.flatMap(({ repair }) => repair ?? []) : [];
    const repaired: string[] = [];
    for (const repair of repairs) repaired.push(await mend(repair, configDir(context.env)));
    if (repaired.length > 0) findings = await examine(name, context);
    const worst = findings.find(({ level }) => level === "error");
    const data = { healthy: worst === undefined, findings: findings.map(({ exit: _exit, repair, ...finding }) => ({ ...finding, repairable: repair !== undefined })), ...(fix ? { repaired } : {}) };
    ui.done(data, () => [...repaired.map((done) => `${ui.style.green("repaired")} ${escapeLine(done)}`), ...findings.map((finding) => line(finding, context))].join("\n"));
    return worst?.exit ?? 0;
  },
});

async function examine(name: string | undefined, context: Context): Promise<Finding[]> {
  const dir = configDir(context.env);
  const config = await loadConfig(dir);
  const chosen = name ?? config.current;
  const about = chosen === undefined ? [noDevice(Object.keys(config.contexts))] : await deviceFindings(chosen, context);
  return [toolchain(Bun.version), ...(await lockFindings(dir)), ...(await projectFindings(context.cwd)), ...(await credentialFindings(config, dir)), ...about];
}

/** Does one repair; the words say what was done. */
async function mend(repair: Repair, dir: string): Promise<string> {
  switch (repair.kind) {
    case "close-key":
      await chmod(repair.path, 0o600);
      return `${repair.path} is readable by its owner alone`;
    case "use":
      await updateConfig(dir, (config) => ({ ...config, current: repair.context }));
      return `${repair.context} is the current device`;
    case "remove-lock":
      await rm(repair.path, { force: true });
      return `${repair.path} is removed`;
    case "write-types": {
      const { writeOffline } = await import("../compiler/offline.ts");
      writeOffline(repair.root);
      return `${join(repair.root, ".arc")} has the types of this arc`;
    }
  }
}

async function lockFindings(dir: string): Promise<Finding[]> {
  const path = join(dir, "config.json.lock");
  const age = await stat(path).then(({ mtimeMs }) => Date.now() - mtimeMs, () => 0);
  return staleLock(path, age);
}

async function projectFindings(cwd: string): Promise<Finding[]> {
  const root = rootAbove(cwd);
  const config = root === undefined ? "" : await readFile(join(root, "tsconfig.json"), "utf8").catch(() => "");
  if (root === undefined || !config.includes(".arc/")) return [];
  return editorTypes(root, await readFile(join(root, ".arc/version"), "utf8").catch(() => undefined), ARC_VERSION);
}

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
  return { context: name, notBefore: time(certificate?.validFrom), notAfter: time(certificate?.validTo), caReadable, keyMode, keyPath, keyMatches };
}

async function deviceFindings(name: string, context: Context): Promise<Finding[]> {
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
