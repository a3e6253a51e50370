//! One call through the harness: what a tool does, and the one frame that says how it ended.

import { afterAll, describe, expect, test } from "bun:test";

import { call, cleanUp, talk, toolModule, type Ended } from "./host.ts";

afterAll(cleanUp);

async function run(body: string, input = "{}", codecs: { input?: string; output?: string } = {}): Promise<Ended> {
  return call(toolModule(body, codecs), input);
}

function answer({ frames }: Ended): unknown {
  expect(frames.length).toBe(1);
  return JSON.parse(String(frames[0]?.["result"]?.["outputJson"]));
}

function failure({ frames }: Ended): Record<string, unknown> {
  expect(frames.length).toBe(1);
  return frames[0]?.["failure"] ?? {};
}

describe.concurrent("a call that succeeds", () => {
  test("gives its answer", async () => expect(answer(await run("return { got: input.a };", '{"a":[1,"x",null]}'))).toEqual({ got: [1, "x", null] }));
  test("gives null for nothing", async () => expect(answer(await run(""))).toBe(null));
  test("leaves out undefined members", async () => expect(answer(await run("return { a: undefined, b: 1 };"))).toEqual({ b: 1 }));
  test("ends at once though timers and promises are open", async () => {
    const ended = await run("setInterval(() => {}, 1000); void new Promise(() => {}); return 1;");
    expect([answer(ended), ended.exitCode]).toEqual([1, 0]);
  });
  test("keeps everything it printed", async () => {
    const ended = await run('console.log("x".repeat(100)); process.stdout.write("y".repeat(1_000_000)); process.stderr.write("z".repeat(1_000_000)); return 1;');
    expect([ended.stdout.length, ended.stderr.length, answer(ended)]).toEqual([1_000_101, 1_000_000, 1]);
  });
  test("may answer almost a frame", async () => expect(answer(await run('return "a".repeat(1_000_000);'))).toHaveLength(1_000_000));
  test("keeps a key called __proto__", async () => {
    const ended = await run("return input;", '{"__proto__":{"a":1},"b":2}');
    expect(ended.frames[0]?.["result"]?.["outputJson"]).toBe('{"__proto__":{"a":1},"b":2}');
  });
});

describe.concurrent("Dates and bytes", () => {
  const codec = '{ object: { at: { date: 1 }, raw: { bytes: 1 }, list: { array: { date: 1 } }, map: { record: { date: 1 } }, either: { anyOf: [[{ type: "string" }, { date: 1 }], [{ type: "number" }, null]] } } }';
  const input = '{"at":"2026-11-20T10:00:00Z","raw":"AAEC","list":["2026-11-20T10:00:00+01:00"],"map":{"k":"2026-01-01T00:00:00Z"},"either":5}';
  test("arrive as what the types say", async () => {
    const body = "return [input.at instanceof Date, input.raw instanceof Uint8Array, [...input.raw].join(), input.list[0].getTime(), input.map.k.toISOString(), input.either].map(String);";
    expect(answer(await run(body, input, { input: codec }))).toEqual(["true", "true", "0,1,2", String(Date.parse("2026-11-20T09:00:00Z")), "2026-01-01T00:00:00.000Z", "5"]);
  });
  test("leave as JSON", async () => {
    expect(answer(await run("return { at: new Date(0), raw: new Uint8Array([255, 0]), list: [], map: { a: new Date(1) }, either: new Date(2) };", "{}", { output: codec }))).toEqual({
      ...{ at: "1970-01-01T00:00:00.000Z", raw: "/wA=", list: [], map: { a: "1970-01-01T00:00:00.001Z" } },
      either: "1970-01-01T00:00:00.002Z",
    });
  });
  test("a union is told apart by its literals", async () => {
    const union = '{ object: { e: { anyOf: [[{ type: "object", required: ["kind", "at"], properties: { kind: { const: "at" } } }, { object: { at: { date: 1 } } }], [{ type: "object", properties: { kind: { const: "text" } } }, null]] } } }';
    expect(answer(await run("return typeof input.e.at;", '{"e":{"kind":"text","at":"2026-11-20T10:00:00Z"}}', { input: union }))).toBe("string");
    expect(answer(await run("return typeof input.e.at;", '{"e":{"kind":"at","at":"2026-11-20T10:00:00Z"}}', { input: union }))).toBe("object");
  });
  test("bytes that are no base64 fail the call", async () => expect(failure(await run("return 1;", '{"raw":"%"}', { input: codec }))).toMatchObject({ kind: "threw", name: "InputInvalid" }));
});

describe.concurrent("a call that throws", () => {
  test("says what and where", async () => {
    const found = failure(await run('throw new TypeError("no such city");'));
    expect(found).toMatchObject({ kind: "threw", name: "TypeError", message: "no such city" });
    expect(String(found["stack"])).not.toContain("/lib/aria/harness.js");
  });
  test("may throw anything", async () => {
    expect(failure(await run('throw "text";'))).toMatchObject({ kind: "threw", name: "string", message: "text" });
    expect(failure(await run("throw null;"))).toMatchObject({ kind: "threw", name: "null" });
    expect(failure(await run("throw { code: 7 };"))).toMatchObject({ kind: "threw", name: "object" });
    expect(failure(await run('throw { get message() { throw 1; }, [Symbol.toPrimitive]() { throw 2; } };'))["kind"]).toBe("threw");
  });
  test("names its cause", async () => expect(String(failure(await run('throw new Error("outer", { cause: new Error("inner") });'))["stack"])).toContain("inner"));
  test("a rejection nobody waits for counts", async () => {
    const ended = await run('void Promise.reject(new RangeError("later")); await new Promise(() => {});');
    expect(failure(ended)).toMatchObject({ kind: "threw", name: "RangeError" });
    expect(ended.exitCode).toBe(1);
  });
  test("so does an error in a timer", async () => expect(failure(await run('setTimeout(() => { throw new Error("tick"); }, 1); await new Promise(() => {});'))).toMatchObject({ message: "tick" }));
  test("a module that does not load is a failure", async () => expect((await call("/nonexistent/tool.js")).frames[0]?.["failure"]).toMatchObject({ kind: "threw" }));
});

describe.concurrent("a call that leaves", () => {
  test("by process.exit gives no result", async () => {
    const ended = await run("process.exit(0);");
    expect([ended.frames, ended.exitCode]).toEqual([[], 0]);
  });
  test("cannot stop the end by replacing process.exit", async () => expect(answer(await run("process.exit = () => {}; setInterval(() => {}, 1000); return 1;"))).toBe(1));
});

const unfit: readonly (readonly [string, string, RegExp])[] = [
  ["a bigint", "return { a: { b: 1n } };", /result\.a\.b is a bigint/],
  ["a Map", "return { m: new Map() };", /result\.m is a Map/],
  ["a Set", "return [new Set()];", /result\[0\] is a Set/],
  ["a function", "return { f() {} };", /result\.f is a function/],
  ["a symbol", "return Symbol();", /result is a symbol/],
  ["NaN", "return { n: NaN };", /result\.n is NaN/],
  ["Infinity", "return -Infinity;", /result is -Infinity/],
  ["a lone surrogate", 'return { s: "\\ud800" };', /result\.s holds a lone surrogate/],
  ["a lone surrogate in a key", 'return { "\\ud800": 1 };', /result has a key with a lone surrogate/],
  ["a cycle", "const a = {}; a.self = { a }; return a;", /result\.self\.a contains itself/],
  ["undefined in an array", "return [undefined];", /result\[0\] is undefined/],
  ["a hole", "return [, 1];", /result\[0\] is undefined/],
  ["a Date without a type", "return { d: new Date() };", /result\.d is a Date/],
  ["bytes without a type", "return Buffer.from('x');", /result is a Uint8Array/],
  ["too deep", "let a = 1; for (let i = 0; i < 200; i++) a = [a]; return a;", /nested deeper than 128/],
  ["200,000 deep", "let a = 1; for (let i = 0; i < 200000; i++) a = { a }; return a;", /nested deeper than 128/],
  ["a Promise inside", "return { p: Promise.resolve(1) };", /result\.p is a Promise/],
  ["an Error", "return new Error('x');", /result is a Error/],
  ["a getter that throws", "return { get a() { throw new Error('gotcha'); } };", /gotcha/],
];

describe.concurrent("an answer that is no JSON is refused with its place:", () => {
  for (const [what, body, message] of unfit) {
    test(what, async () => {
      const found = failure(await run(body));
      expect(found["kind"]).toBe("result");
      expect(String(found["message"])).toMatch(message);
    });
  }
});

const oversized: [string, string, RegExp][] = [
  ["a huge sparse array", "return new Array(1e9);", /over 1048576 bytes/],
  ["128 MiB", 'return "x".repeat(128 * 1024 * 1024);', /over 1048576 bytes/],
  ["text that grows in JSON", 'return "\\u0001".repeat(900_000);', /does not fit a frame/],
];

describe.concurrent("an answer that fits no frame is too large, which is another failure:", () => {
  for (const [what, body, message] of oversized) {
    test(what, async () => {
      const found = failure(await run(body));
      expect(found["kind"]).toBe("too-large");
      expect(String(found["message"])).toMatch(message);
    });
  }
});

test("logs and progress go through the door, before the answer", async () => {
  const door = 'const door = globalThis[Symbol.for("aria.door")];';
  const { frames } = await run(`${door} door.log("info", "hello", '{"n":1}'); door.progress(0.5, "half"); return 1;`);
  expect(frames).toEqual([{ log: { level: "info", message: "hello", fieldsJson: '{"n":1}' } }, { progress: { fraction: 0.5, message: "half" } }, { result: { outputJson: "1" } }]);
});

test("many large logs arrive whole though the reader is slower", async () => {
  const { frames } = await run('const door = globalThis[Symbol.for("aria.door")]; for (let i = 0; i < 100; i++) door.log("info", "x".repeat(60_000), "{}"); return 1;');
  expect(frames.length).toBe(101);
});

describe.concurrent("a process that is started ahead of its call", () => {
  const invoke = (module: string): object => ({ invoke: { invocationId: "i-1", module, inputJson: "{}" } });

  test("says that it is ready before it is called, then answers once", async () => {
    const { frames, exitCode } = await talk([{ prepare: {} }, invoke(toolModule("return 7;"))]);
    expect([frames, exitCode]).toEqual([[{ ready: {} }, { result: { outputJson: "7" } }], 0]);
  });
  test("has loaded its module by then, and calls that", async () => {
    const module = toolModule("return globalThis.loaded;");
    await Bun.write(module, `globalThis.loaded = (globalThis.loaded ?? 0) + 1;\n${await Bun.file(module).text()}`);
    const { frames } = await talk([{ prepare: { module } }, invoke(module)]);
    expect(frames).toEqual([{ ready: {} }, { result: { outputJson: "1" } }]);
  });
  test("is never ready with a module that cannot be loaded", async () => {
    const { frames } = await talk([{ prepare: { module: "/absent.js" } }, invoke(toolModule("return 1;"))]);
    expect(frames.map((frame) => Object.keys(frame))).toEqual([["failure"]]);
  });
});
