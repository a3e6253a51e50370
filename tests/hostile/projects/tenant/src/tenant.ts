import { defineTool } from "@aria/sdk";

const MARK = "aria-tenant-mark";

/** What one call could see and leave. */
export interface Seen {
  /** Marks of an earlier call, and where they were. */
  found: string[];
  /** Names in the environment. */
  env: string[];
  /** Open descriptors and what they are. */
  descriptors: string[];
  /** What is at /app, /in, /tmp and /out before the call leaves anything. */
  places: { [path: string]: string[] };
  mounts: string;
  random: string[];
  processes: number;
  uptimeMs: number;
}

async function look(): Promise<Seen> {
  const fs = await import("node:fs");
  const list = (path: string): string[] => {
    try {
      return fs.readdirSync(path).sort();
    } catch {
      return ["-"];
    }
  };
  const text = (path: string): string => {
    try {
      return fs.readFileSync(path, "utf8");
    } catch {
      return "";
    }
  };
  const link = (path: string): string => {
    try {
      return fs.readlinkSync(path).replace(/\d+/g, "N");
    } catch {
      return "gone";
    }
  };
  const found: string[] = [];
  const everywhere: [string, boolean][] = [
    ["globalThis", MARK in globalThis], ["Object.prototype", MARK in {}], ["Array.prototype", MARK in []], ["process.env", MARK in process.env], ["process", MARK in process],
    ["Math.random", String(Math.random).includes(MARK)], ["JSON", MARK in JSON], ["module cache", Symbol.for(MARK) in fs.default], ["title", process.title.includes(MARK)], ["argv", process.argv.join(" ").includes(MARK)],
    ["umask", process.umask() === 0o077], ["cwd", process.cwd() !== "/tmp"],
  ];
  for (const [place, is] of everywhere) if (is) found.push(place);
  for (const place of ["/tmp", "/out", "/app", "/in", "/dev", "/", "/dev/shm", "/workspace"]) if (list(place).some((name) => name.includes(MARK))) found.push(place);
  try {
    await new Promise<void>((resolve, reject) => void Bun.connect({ unix: `\0${MARK}`, socket: { open: () => resolve(), connectError: reject, data() {} } }).catch(reject));
    found.push("abstract socket");
  } catch {
    // Nobody listens.
  }
  return {
    found,
    env: Object.keys(process.env).sort(),
    descriptors: list("/proc/self/fd").map((fd) => `${fd} ${link(`/proc/self/fd/${fd}`)}`),
    places: Object.fromEntries(["/app", "/app/code", "/in", "/tmp", "/out"].map((path) => [path, list(path)])),
    mounts: text("/proc/self/mountinfo").split("\n").map((line) => line.split(" ")[4] ?? "").sort().join(" "),
    random: [crypto.randomUUID(), String(Math.random()), Buffer.from(crypto.getRandomValues(new Uint8Array(16))).toString("hex")],
    processes: list("/proc").filter((name) => /^\d+$/.test(name)).length,
    uptimeMs: Math.round(performance.now()),
  };
}

async function mark(): Promise<void> {
  const fs = await import("node:fs");
  const quietly = (act: () => void): void => {
    try {
      act();
    } catch {
      // Some of it may be refused.
    }
  };
  for (const on of [globalThis, Object.prototype, Array.prototype, process, JSON]) quietly(() => void Object.defineProperty(on, MARK, { value: 1, configurable: true, writable: true }));
  quietly(() => void Object.defineProperty(fs.default, Symbol.for(MARK), { value: 1 }));
  quietly(() => void (process.env[MARK] = "1"));
  quietly(() => void (process.title = MARK));
  quietly(() => void process.umask(0o077));
  for (const place of ["/tmp", "/out", "/app", "/in", "/dev", "/", "/dev/shm", "/workspace"]) {
    quietly(() => fs.writeFileSync(`${place}/${MARK}`, MARK));
  }
  const random = (): number => 0.5;
  Object.defineProperty(random, "toString", { value: () => MARK });
  quietly(() => void (Math.random = random));
  quietly(() => Bun.listen({ unix: `\0${MARK}`, socket: { data() {} } }).unref());
  quietly(() => process.chdir("/"));
}

/** Looks for what others left, then leaves something in every place it can. */
export const visit = defineTool({
  timeout: "20s",
  run: async (input: { stay: number }): Promise<Seen> => {
    const seen = await look();
    if (input.stay > 0) await Bun.sleep(input.stay);
    await mark();
    return seen;
  },
});
