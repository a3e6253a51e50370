import { writeSync } from "node:fs";
import { defineTool, log, out, tool } from "@aria/sdk";

/** The guest door, which only the harness should use. */
const DOOR = 3;

function frame(value: unknown): void {
  send(new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value)));
}

function send(body: Uint8Array, claimed = body.length): void {
  const bytes = new Uint8Array(4 + body.length);
  new DataView(bytes.buffer).setUint32(0, claimed, true);
  bytes.set(body, 4);
  for (let at = 0; at < bytes.length; ) at += writeSync(DOOR, bytes, at);
}

/** What to do instead of answering. */
export interface Way {
  way: string;
}

export class Misfits {
  /** Writes to the guest door by itself. */
  @tool({ timeout: "10s" })
  async forge(input: Way): Promise<{ honest: boolean }> {
    switch (input.way) {
      case "two-results":
        frame({ result: { outputJson: '{"honest":false}' } });
        break;
      case "no-json":
        frame({ result: { outputJson: "{" } });
        break;
      case "duplicate-keys":
        frame({ result: { outputJson: '{"honest":true,"honest":false}' } });
        break;
      case "deep":
        frame({ result: { outputJson: `${"[".repeat(200_000)}${"]".repeat(200_000)}` } });
        break;
      case "wrong-type":
        frame({ result: { outputJson: '{"honest":"yes"}' } });
        break;
      case "extra-property":
        frame({ result: { outputJson: '{"honest":true,"more":1}' } });
        break;
      case "lone-surrogate":
        frame({ result: { outputJson: '{"honest":true,"x":"\\ud800"}' } });
        break;
      case "huge-number":
        frame({ result: { outputJson: '{"honest":1e999999}' } });
        break;
      case "frame-no-json":
        frame("this is no frame");
        break;
      case "frame-unknown":
        frame({ finished: { outcome: { succeeded: {} } } });
        break;
      case "frame-not-utf8":
        send(Uint8Array.from([0xff, 0xfe, 0x80]));
        break;
      case "frame-too-long":
        send(new Uint8Array(16), 0x7fffffff);
        break;
      case "frame-empty":
        send(new Uint8Array(0));
        break;
      case "short-frame":
        send(new Uint8Array(2), 1000);
        break;
    }
    // The process ends before the harness can answer as well, except where a second answer is the point.
    if (input.way !== "two-results") process.exit(0);
    return { honest: true };
  }

  /** Throws something. */
  @tool({ timeout: "5s" })
  fail(input: Way): { never: boolean } {
    switch (input.way) {
      case "error":
        throw new Error("this went wrong on purpose");
      case "string":
        throw "a string";
      case "nothing":
        throw undefined;
      case "getter":
        throw Object.defineProperty(new Error("x"), "message", { get: () => { throw new Error("inner"); } });
      case "proxy":
        throw new Proxy({}, { get: () => { throw new Error("inner"); } });
      case "escape-codes":
        throw new Error("\u001b[2J\u001b]0;forged\u0007 cleared");
      case "huge":
        throw new Error("x".repeat(4 << 20));
      default:
        throw new TypeError(`unknown way ${input.way}`);
    }
  }

  /** Ends the process in some way. */
  @tool({ timeout: "3s", limits: { memory: "128M", output: "1M" } })
  async end(input: Way): Promise<{ never: boolean }> {
    switch (input.way) {
      case "exit-0":
        process.exit(0);
      case "exit-7":
        process.exit(7);
      case "hang":
        await new Promise(() => setInterval(() => {}, 1 << 30));
        break;
      case "spin":
        for (;;);
      case "flood":
        for (;;) writeSync(1, new Uint8Array(65_536).fill(0x41));
      case "allocate": {
        const kept: Uint8Array[] = [];
        for (;;) kept.push(new Uint8Array(1 << 22).fill(kept.length & 255));
      }
      case "kill":
        process.kill(process.pid, "SIGKILL");
        await Bun.sleep(2_000);
        break;
      case "close-door":
        (await import("node:fs")).closeSync(DOOR);
        break;
    }
    return { never: true };
  }

  /** Answers with a value that has no JSON form. */
  @tool({ timeout: "5s" })
  odd(input: Way): { value: number } {
    switch (input.way) {
      case "nan":
        return { value: Number.NaN };
      case "infinity":
        return { value: Number.POSITIVE_INFINITY };
      case "bigint":
        return { value: 1n as unknown as number };
      case "cycle": {
        const value: { value: number; self?: unknown } = { value: 1 };
        value.self = value;
        return value;
      }
      case "surrogate":
        return { value: "\ud800" as unknown as number };
      case "map":
        return new Map([["value", 1]]) as unknown as { value: number };
      case "huge":
        return { value: "x".repeat(128 << 20) as unknown as number };
      case "to-json":
        return { value: 1, toJSON: () => ({ value: "forged" }) } as unknown as { value: number };
      case "getter":
        return Object.defineProperty({}, "value", { enumerable: true, get: () => { throw new Error("inner"); } }) as { value: number };
      case "nothing":
        return undefined as unknown as { value: number };
      default:
        return { value: 1 };
    }
  }
}

/** Says a lot through the log and progress, then answers. */
export const chatter = defineTool({
  timeout: "20s",
  run: (input: { lines: number }): { said: number } => {
    for (let i = 0; i < input.lines; i++) log.info(`line ${i} \u001b[31m`, { forged: '{"level":"ERROR"}' });
    return { said: input.lines };
  },
});

/** Leaves files in /out that must not come back as they are named. */
export const leave = defineTool({
  timeout: "10s",
  run: async (input: Way): Promise<{ left: string }> => {
    const { mkdirSync, symlinkSync, linkSync } = await import("node:fs");
    await Bun.write(out("plain.txt"), "plain");
    if (input.way === "link") symlinkSync("/bin/bun", out("link"));
    if (input.way === "hard-link") linkSync(out("plain.txt"), out("again.txt"));
    if (input.way === "directory") mkdirSync(out("directory"));
    if (input.way === "control") await Bun.write("/out/\u001b[31mred\u0001", "x");
    return { left: input.way };
  },
});
