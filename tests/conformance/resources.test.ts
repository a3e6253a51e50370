// What runs may do with the resources of a device, through the real daemons: as programs of `arc exec` and as tools.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startHost, type Host, type Run } from "../stand/host.ts";

let host: Host;
const scratch = mkdtempSync(join(tmpdir(), "resources-"));

beforeAll(async () => {
  host = await startHost({ ariaToml: "[budget]\nkv_calls_max = 300\ntool_calls_max = 8\n" });
  await upload("shop", SHOP);
}, 120_000);
afterAll(async () => {
  rmSync(scratch, { recursive: true, force: true });
  await host?.stop();
});

/** Runs a script with tokens; what it printed as JSON is its answer. */
async function exec(tokens: string[], source: string, names = "kv, vector, tools, AriaError"): Promise<unknown> {
  const done = await execRaw(tokens, source, names);
  expect(done.code, done.stdout + done.stderr).toBe(0);
  return JSON.parse(done.stdout);
}

async function execRaw(tokens: string[], source: string, names = "kv, vector, tools, AriaError"): Promise<Run> {
  const file = join(scratch, `probe-${crypto.randomUUID()}.ts`);
  writeFileSync(file, `
import { ${names} } from "@aria/sdk";
async function reason(work: () => Promise<unknown>): Promise<string> {
  try { await work(); return "done"; } catch (error) { return error instanceof AriaError ? error.reason : String(error); }
}
async function main(): Promise<unknown> {
${source}
}
console.log(JSON.stringify(await main()));
`);
  return host.arc(["exec", file, ...tokens.flatMap((token) => ["--token", token])]);
}

async function upload(name: string, source: string): Promise<void> {
  const dir = join(scratch, name);
  mkdirSync(join(dir, "src"), { recursive: true });
  writeFileSync(join(dir, "arc.toml"), `[bundle]\nname = "${name}"\nversion = "1.0.0"\ndescription = ""\nlicense = "Apache-2.0"\nauthors = []\n`);
  writeFileSync(join(dir, "tsconfig.json"), `{ "extends": "./.arc/tsconfig.json", "include": ["src"] }`);
  writeFileSync(join(dir, "src", `${name}.ts`), source);
  const file = join(scratch, `${name}.aria`);
  for (const args of [["build", dir, "--out", file], ["upload", file]]) {
    const done = await host.arc(args);
    expect(done.code, done.stdout + done.stderr).toBe(0);
  }
}

interface Invoked {
  code: number;
  output: unknown;
  error: { code: string; message: string } | undefined;
}

async function invoke(tool: string, input: unknown = {}): Promise<Invoked> {
  const done = await host.arc(["--json", "invoke", tool, "--input", JSON.stringify(input)]);
  const body = JSON.parse(done.stdout) as { data?: { output?: unknown }; error?: { code: string; message: string } };
  return { code: done.code, output: body.data?.output, error: body.error };
}

const SHOP = `
import { AriaError, kv, tool, tools, vector } from "@aria/sdk";

async function reason(work: () => Promise<unknown>): Promise<string> {
  try { await work(); return "done"; } catch (error) { return error instanceof AriaError ? error.reason : String(error); }
}

/** A name that is only known when it runs: arc refuses what it can see. */
const hidden = (name: string): string => [...name].join("");

export class Shop {
  @tool({ tokens: ["kv:shop:rw"] })
  async put(input: { key: string; value: number }): Promise<number> { return kv("shop").put(input.key, input.value); }

  @tool({ tokens: ["kv:shop:ro"] })
  async get(input: { key: string }): Promise<number> { return ((await kv<number>("shop").get(input.key)) ?? -1); }

  @tool({ tokens: ["kv:shop:ro"] })
  async countOpen(): Promise<number> { return (await kv("shop").list()).length; }

  /** Adds to a number it holds alone, slowly enough for others to come between if they could. */
  @tool({ tokens: ["kv:counter:exclusive"] })
  async add(input: { times: number }): Promise<number> {
    const counter = kv<number>("counter");
    let value = 0;
    for (let i = 0; i < input.times; i++) {
      value = ((await counter.get("n")) ?? 0) + 1;
      await counter.put("n", value);
    }
    return value;
  }

  @tool({ tokens: ["kv:counter:ro"] })
  async count(): Promise<number> { return (await kv<number>("counter").get("n")) ?? 0; }

  /** Has no right to the table itself; the tool it calls has. */
  @tool({ tokens: ["tool:shop.count-open", "tool:shop.missing"] })
  async report(): Promise<{ own: string; other: string; missing: string; called: number }> {
    return {
      own: await reason(() => kv(hidden("shop")).list()),
      other: await reason(() => tools.call(hidden("shop.get"), { key: "a" })),
      missing: await reason(() => tools.call("shop.missing")),
      called: await tools.call<number>("shop.count-open"),
    };
  }

  @tool({ tokens: ["tool:shop.deeper"] })
  async deeper(input: { level: number }): Promise<{ levels: number; reason: string }> {
    const below = await reason(async () => { deepest = await tools.call<{ levels: number; reason: string }>("shop.deeper", { level: input.level + 1 }); });
    return below === "done" ? deepest : { levels: input.level, reason: below };
  }

  @tool({ tokens: ["tool:shop.boom", "tool:shop.get"] })
  async calls(input: { tool: string; inputJson: string }): Promise<string> {
    return reason(() => tools.call(input.tool, JSON.parse(input.inputJson)));
  }

  @tool({ tokens: ["kv:naps:rw"] })
  async nap(): Promise<void> {
    await kv("naps").put("begun", 1);
    await Bun.sleep(8_000);
    await kv("naps").put("done", 1);
  }

  @tool({ tokens: ["tool:shop.nap"] })
  async wait(): Promise<void> { await tools.call("shop.nap"); }

  @tool() boom(): number { throw new Error("no"); }

  /** Holds what the tool it calls needs: neither could ever go on. */
  @tool({ tokens: ["kv:shop:exclusive", "tool:shop.get"] })
  async deadlock(): Promise<string> { return reason(() => tools.call("shop.get", { key: "a" })); }

  @tool({ tokens: ["kv:shop:ro"] })
  async spend(input: { catch: boolean }): Promise<string> {
    const all = async (): Promise<void> => { for (let i = 0; i < 400; i++) await kv("shop").get("a"); };
    if (input.catch) return reason(all);
    await all();
    return "never";
  }

  @tool({ tokens: ["vector:docs:rw"] })
  async embed(): Promise<string[]> {
    const docs = vector("docs");
    await docs.upsert({ id: "east", vector: [1, 0], metadata: { side: "e" } }, { id: "north", vector: [0, 1] }, { id: "west", vector: [-1, 0], metadata: { side: "w" } });
    return (await docs.search([1, 0.1], { k: 2 })).map((hit) => hit.id);
  }
}

let deepest = { levels: 0, reason: "" };
`;

describe("kv from a program", () => {
  test("every operation does what it says", async () => {
    const answer = await exec(["kv:ops:rw"], `
  const t = kv("ops");
  const first = await t.put("a", { n: 1, text: "ü\\u0000" });
  const second = await t.put("b/1", [1, null, "x"]);
  await t.put("b/2", 2.5);
  const page = await t.page({ prefix: "b/", limit: 1 });
  const rest = await t.page({ prefix: "b/", limit: 5, cursor: page.cursor! });
  const appended = [await t.append("x"), await t.append("y")];
  return {
    rise: second > first, value: await t.get("a"), none: (await t.get("none")) === undefined, entry: (await t.entry("a"))?.version === first,
    list: (await t.list<number | unknown[]>("b/")).map((e) => e.key),
    page: page.entries.map((e) => e.key), rest: rest.entries.map((e) => e.key), more: rest.cursor ?? "end",
    swap: (await t.cas("a", first, 1)).swapped, stale: (await t.cas("a", first, 2)).swapped, fresh: (await t.cas("c", 0, 3)).swapped,
    ordered: appended[0].key < appended[1].key,
    deleted: [await t.delete("a"), await t.delete("a")], after: (await t.get("a")) === undefined,
  };`);
    expect(answer).toEqual({
      rise: true, value: { n: 1, text: "ü\u0000" }, none: true, entry: true, list: ["b/1", "b/2"], page: ["b/1"], rest: ["b/2"], more: "end",
      swap: true, stale: false, fresh: true, ordered: true, deleted: [true, false], after: true,
    });
  }, 30_000);

  test("values outlive both daemons", async () => {
    await exec(["kv:kept:rw"], `return kv("kept").put("a", 42);`);
    await host.restart("ariad", "SIGKILL");
    await host.restart("quiltd", "SIGKILL");
    await host.restart("ariad");
    expect(await exec(["kv:kept:ro"], `return kv("kept").get("a");`)).toBe(42);
    // The fences of before are behind those of now, or this would be refused.
    expect(await exec(["kv:kept:rw"], `return reason(() => kv("kept").put("a", 43));`)).toBe("done");
  }, 60_000);

  test("a token for one thing is no token for another", async () => {
    const answer = await exec(["kv:orders:ro", "kv:journal:append", "kv:orders2:pending:rw"], `
  return {
    read: await reason(() => kv("orders").get("a")), write: await reason(() => kv("orders").put("a", 1)), remove: await reason(() => kv("orders").delete("a")),
    below: await reason(() => kv("orders:pending").get("a")), beside: await reason(() => kv("orders2").get("a")), above: await reason(() => kv("orders2").put("a", 1)),
    own: await reason(() => kv("orders2:pending").put("a", 1)), shorter: await reason(() => kv("order").get("a")),
    capital: await reason(() => kv("Orders").get("a")), slash: await reason(() => kv("orders/pending").get("a")), encoded: await reason(() => kv("orders%2Fpending").get("a")),
    nul: await reason(() => kv("orders\\0").get("a")), lookalike: await reason(() => kv("оrders").get("a")), mode: await reason(() => kv("orders:rw").get("a")),
    add: await reason(() => kv("journal").append(1)), look: await reason(() => kv("journal").list()),
    fresh: await reason(() => kv("journal").put("new", 1)), change: await reason(() => kv("journal").put("new", 2)),
    vector: await reason(() => vector("orders").search([1])), tool: await reason(() => tools.call("shop.get", { key: "a" })),
  };`);
    const [missing, syntax, done] = ["TOKEN_MISSING", "TOKEN_SYNTAX", "done"];
    expect(answer).toEqual({
      read: done, write: missing, remove: missing, below: done, beside: missing, above: missing, own: done, shorter: missing,
      capital: syntax, slash: syntax, encoded: syntax, nul: syntax, lookalike: syntax, mode: syntax,
      add: done, look: missing, fresh: done, change: missing, vector: missing, tool: missing,
    });
  }, 30_000);

  test("without tokens there is no door, and that is said", async () => {
    const done = await execRaw([], `
  const { existsSync } = await import("node:fs");
  return [await reason(() => kv("orders").get("a")), existsSync("/proc/self/fd/3"), process.env.ARIA_DOOR ?? "none"];`);
    const [why, , door] = JSON.parse(done.stdout) as [string, boolean, string];
    expect([why, door]).toEqual(["NO_DEVICE", "none"]);
  }, 30_000);

  test("a token that no rule allows is refused before anything runs", async () => {
    const done = await execRaw(["llm:big"], `return 1;`);
    expect(done.code).toBe(125);
    expect(done.stderr).toContain("TOKEN_NOT_ALLOWED");
  }, 30_000);

  test("a watch sees every change in order, and ends when its loop is left", async () => {
    const answer = await exec(["kv:watched:rw"], `
  const t = kv<number>("watched");
  const before = await t.put("a", 1);
  const seen: unknown[] = [];
  const changes = t.watch({ from: before, prefix: "a" });
  await Promise.all([t.put("a", 2), t.put("b", 9)]);
  await t.put("a", 3);
  await t.delete("a");
  for await (const change of changes) {
    seen.push(change.value ?? "gone");
    if (seen.length === 3) break;
  }
  return [...seen, await reason(() => t.get("a"))];`);
    expect(answer).toEqual([2, 3, "gone", "done"]);
  }, 30_000);

  test("a hundred requests at once are answered, each with its own answer", async () => {
    const answer = await exec(["kv:many:rw"], `
  const t = kv<number>("many");
  await Promise.all(Array.from({ length: 100 }, (_, i) => t.put("k" + i, i)));
  const values = await Promise.all(Array.from({ length: 100 }, (_, i) => t.get("k" + i)));
  return values.every((value, i) => value === i);`);
    expect(answer).toBe(true);
  }, 30_000);

  test("large values come back whole, too large ones are refused", async () => {
    const answer = await exec(["kv:large:rw"], `
  const t = kv<string>("large");
  const text = "é".repeat(340_000);
  await Promise.all([t.put("a", text), t.put("b", text), t.put("c", text)]);
  const back = await Promise.all(["a", "b", "c", "a", "b", "c"].map((key) => t.get(key)));
  return [back.every((value) => value === text), await reason(() => t.put("d", "x".repeat(800_000))), await reason(() => t.put("d", "x".repeat(2_000_000))),
    await reason(() => t.put("d", Number.NaN as never)), await reason(() => t.get(""))];`);
    expect(answer).toEqual([true, "TOO_LARGE", "TOO_LARGE", "VALUE_NOT_JSON", "REQUEST_INVALID"]);
  }, 30_000);
});

describe("kv from tools", () => {
  test("what one call wrote, the next one reads", async () => {
    expect((await invoke("shop.put", { key: "a", value: 7 })).code).toBe(0);
    expect((await invoke("shop.get", { key: "a" })).output).toBe(7);
  }, 30_000);

  test("writers that exclude each other lose nothing", async () => {
    const all = await Promise.all(Array.from({ length: 4 }, () => invoke("shop.add", { times: 20 })));
    expect(all.map((one) => one.error)).toEqual([undefined, undefined, undefined, undefined]);
    expect((await invoke("shop.count")).output).toBe(80);
  }, 60_000);

  test("a budget ends, as an error in the tool and as the outcome of one that lets it pass", async () => {
    expect((await invoke("shop.spend", { catch: true })).output).toBe("BUDGET_EXHAUSTED");
    const failed = await invoke("shop.spend", { catch: false });
    expect([failed.code, failed.error?.code]).toEqual([11, "BUDGET_EXHAUSTED"]);
  }, 30_000);
});

describe("vectors", () => {
  test("a tool finds the nearest", async () => {
    expect((await invoke("shop.embed")).output).toEqual(["east", "north"]);
  }, 30_000);

  test("a search is exact: it agrees with looking at everything", async () => {
    const answer = await exec(["vector:points:rw", "vector:other:append"], `
  let seed = 1;
  const random = () => ((seed = (seed * 48271) % 2147483647) / 2147483647) * 2 - 1;
  const points = Array.from({ length: 300 }, (_, i) => ({ id: "p" + i, vector: Array.from({ length: 16 }, () => Math.fround(random())), metadata: { third: i % 3 } }));
  const c = vector("points");
  await c.upsert(...points.slice(0, 200));
  await c.upsert(...points.slice(200));
  const wanted = Array.from({ length: 16 }, () => Math.fround(random()));
  const dot = (a: number[], b: number[]) => a.reduce((sum, x, i) => sum + x * b[i]!, 0);
  const l2 = (a: number[]) => Math.sqrt(a.reduce((sum, x, i) => sum + (x - wanted[i]!) ** 2, 0));
  const cosine = (a: number[]) => dot(a, wanted) / Math.sqrt(dot(a, a) * dot(wanted, wanted));
  const best = (score: (a: number[]) => number, keep = (_: number) => true) =>
    points.filter((p) => keep(p.metadata.third)).sort((a, b) => score(b.vector) - score(a.vector)).slice(0, 15).map((p) => p.id).join();
  const found = async (options: object) => (await c.search(wanted, { k: 15, ...options })).map((hit) => hit.id).join();
  return {
    cosine: (await found({})) === best(cosine), dot: (await found({ metric: "dot" })) === best((a) => dot(a, wanted)), l2: (await found({ metric: "l2" })) === best((a) => -l2(a)),
    filter: (await found({ metric: "l2", filter: { third: 1 } })) === best((a) => -l2(a), (third) => third === 1),
    dimension: await reason(() => c.search([1, 2])), replace: await reason(() => c.upsert({ id: "p1", vector: wanted })), nearest: (await c.search(wanted, { k: 1 }))[0]!.id,
    removed: [await c.delete("p1"), await c.delete("p1")],
    add: await reason(() => vector("other").upsert({ id: "a", vector: [1] })), change: await reason(() => vector("other").upsert({ id: "a", vector: [2] })),
    look: await reason(() => vector("other").search([1])),
  };`);
    expect(answer).toEqual({
      cosine: true, dot: true, l2: true, filter: true, dimension: "DIMENSION", replace: "done", nearest: "p1", removed: [true, false],
      add: "done", change: "TOKEN_MISSING", look: "TOKEN_MISSING",
    });
  }, 60_000);
});

describe("a tool calls a tool", () => {
  test("under the called tool's own rights, and only with a token for it", async () => {
    const { output, error } = await invoke("shop.report");
    expect(error).toBeUndefined();
    expect(output).toEqual({ own: "TOKEN_MISSING", other: "TOKEN_MISSING", missing: "TOOL_UNKNOWN", called: expect.any(Number) });
  }, 30_000);

  test("failures of the called tool come through with their reason", async () => {
    expect((await invoke("shop.calls", { tool: "shop.boom", inputJson: "{}" })).output).toBe("THREW");
    expect((await invoke("shop.calls", { tool: "shop.get", inputJson: "{\"key\":7}" })).output).toBe("INPUT_SCHEMA");
    expect((await invoke("shop.calls", { tool: "shop.get", inputJson: "{\"key\":\"a\"}" })).output).toBe("done");
  }, 30_000);

  test("a chain ends at its fourth run", async () => {
    const { output, error } = await invoke("shop.deeper", { level: 1 });
    expect(error).toBeUndefined();
    expect(output).toEqual({ levels: 4, reason: "TOO_DEEP" });
  }, 60_000);

  test("a wait that could never end is refused, and the caller goes on", async () => {
    expect((await invoke("shop.deadlock")).output).toBe("DEADLOCK");
  }, 30_000);

  test("what it called ends with it", async () => {
    const done = await host.arc(["--json", "invoke", "shop.wait", "--timeout", "2s"]);
    expect([done.code, (JSON.parse(done.stdout) as { error?: { code: string } }).error?.code]).toEqual([9, "DEADLINE"]);
    // Granted only when the called tool is gone; had it lived on, it would have written before.
    expect(await exec(["kv:naps:exclusive"], `return [await kv("naps").get("begun"), (await kv("naps").get("done")) ?? "never"];`)).toEqual([1, "never"]);
  }, 60_000);

  test("a program calls a tool too", async () => {
    expect(await exec(["tool:shop.count-open"], `return typeof (await tools.call("shop.count-open"));`)).toBe("number");
  }, 30_000);
});
