import { spawn } from "node:child_process";

export type JsonValue = null | boolean | number | string | JsonValue[] | { [key: string]: JsonValue };

/** How a call reaches a device. The default runs `arc`; write another one to speak gRPC (`aria.v1.Tools`) yourself. */
export interface Transport {
  /** The digest of the installed bundle's interface. */
  interfaceDigest(bundle: string): Promise<string>;
  /** JSON text in, JSON text out; rejects with a `ToolError`. */
  invoke(tool: string, inputJson: string, signal?: AbortSignal): Promise<string>;
}

/** The device has another interface than the one this client was written for. Write it again: `arc gen client`. */
export class InterfaceChanged extends Error {
  readonly expected: string;
  readonly found: string;
  constructor(bundle: string, expected: string, found: string) {
    super(`${bundle} on the device has interface ${found}, this client was written for ${expected}; write it again with \`arc gen client\``);
    this.name = "InterfaceChanged";
    this.expected = expected;
    this.found = found;
  }
}

/** The call was refused or the tool failed; `code` as in `arc explain`. */
export class ToolError extends Error {
  readonly code: string;
  readonly details: unknown;
  constructor(code: string, message: string, details: unknown) {
    super(message);
    this.name = "ToolError";
    this.code = code;
    this.details = details;
  }
}

export interface ArcOptions {
  /** The program; absent: `arc` in PATH. */
  readonly program?: string;
  /** The device; absent: the current one. */
  readonly context?: string;
}

/** Calls through the `arc` program of this machine and its credentials. */
export function arcTransport(options: ArcOptions = {}): Transport {
  const where = options.context === undefined ? [] : ["--context", options.context];
  return {
    async interfaceDigest(bundle) {
      const { data } = await arc(options, ["ls", ...where]);
      const found = (data as { name: string; interfaceDigest: string; active: boolean }[]).find((one) => one.name === bundle && one.active);
      if (found === undefined) throw new ToolError("BUNDLE_UNKNOWN", `the device has no bundle ${bundle}`, null);
      return found.interfaceDigest;
    },
    async invoke(tool, inputJson, signal) {
      const { data } = await arc(options, ["invoke", tool, "--input", "-", ...where], inputJson, signal);
      return JSON.stringify((data as { output: unknown }).output);
    },
  };
}

async function arc(options: ArcOptions, words: readonly string[], stdin = "", signal?: AbortSignal): Promise<{ data: unknown }> {
  const child = spawn(options.program ?? "arc", ["--json", ...words], { stdio: ["pipe", "pipe", "ignore"], ...(signal === undefined ? {} : { signal }) });
  const text = await new Promise<string>((resolve, reject) => {
    const chunks: Buffer[] = [];
    child.on("error", reject);
    child.stdin.on("error", () => undefined);
    child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
    child.on("close", () => resolve(Buffer.concat(chunks).toString("utf8")));
    child.stdin.end(stdin);
  });
  let answer: { ok: boolean; data?: unknown; error?: { code: string; message: string; details: unknown } };
  try {
    answer = JSON.parse(text);
  } catch {
    throw new ToolError("ARC_OUTPUT", `arc did not answer in JSON: ${text.slice(0, 200)}`, null);
  }
  if (!answer.ok) throw new ToolError(answer.error?.code ?? "UNKNOWN", answer.error?.message ?? "no reason given", answer.error?.details);
  return { data: answer.data };
}
