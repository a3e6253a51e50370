// G10: what a request through the guest door costs, seen by the tool that makes it: it asks for the same key again and again, one
// request at a time, and answers with the times.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { arcProgram, startHost } from "../stand/host.ts";
import { type Clock, must } from "./client.ts";
import { Noise, quantile, say, type Table } from "./table.ts";

const TOOL = `import { kv, tool } from "@aria/sdk";

export interface Trips { count: number }
export interface Times { micros: number[] }

/** Reads a key of the table bench as often as asked, after as many times unrecorded for warmth. */
export class Door {
  @tool({ tokens: ["kv:bench:rw"], timeout: "60s" })
  async trips({ count }: Trips): Promise<Times> {
    const table = kv<string>("bench");
    await table.put("key", "value");
    const micros: number[] = [];
    for (let trip = 0; trip < 2 * count; trip += 1) {
      const start = performance.now();
      const value = await table.get("key");
      const took = (performance.now() - start) * 1000;
      if (value !== "value") throw new Error("the table lost its value");
      if (trip >= count) micros.push(took);
    }
    return { micros };
  }
}
`;

export async function door(clock: Clock, table: Table, count: number): Promise<void> {
  say(`G10: ${count} requests through the guest door from inside one call`);
  const project = join(clock.work, "door");
  await must([arcProgram, "new", project, "--template", "tool"]);
  await must(["rm", "-r", join(project, "src")]);
  await must(["mkdir", join(project, "src")]);
  writeFileSync(join(project, "src/door.ts"), TOOL);
  await must([arcProgram, "build", "--out", join(clock.work, "door.aria")], project);
  const host = await startHost();
  try {
    const ask = async (): Promise<number[]> => {
      const done = await host.arc(["invoke", "door.trips", "--input", JSON.stringify({ count })]);
      if (done.code !== 0) throw new Error(`arc invoke: exit ${done.code}\n${done.stderr}`);
      return (JSON.parse(done.stdout) as { micros: number[] }).micros;
    };
    const signed = await host.arc(["sign", join(clock.work, "door.aria")]);
    if (signed.code !== 0) throw new Error(`arc sign: exit ${signed.code}\n${signed.stderr}`);
    const uploaded = await host.arc(["upload", join(clock.work, "door.aria")]);
    if (uploaded.code !== 0) throw new Error(`arc upload: exit ${uploaded.code}\n${uploaded.stderr}`);
    // The floor before, between and after, so that it is of the same minute.
    const floor: number[] = [];
    const starts: number[] = [];
    const micros: number[] = [];
    for (let part = 0; part < 3; part++) {
      const floors = await clock.floors();
      floor.push(...floors["socket round trip of two threads"]);
      starts.push(...floors["vfork+exec+wait"]);
      micros.push(...(await ask()));
    }
    const noise = new Noise({ "socket round trip of two threads": floor, "vfork+exec+wait": starts });
    const trip = "request through the guest door (kv get), seen by the tool";
    table.row(noise, "G10", trip, "us", quantile(micros, 0.5), "socket round trip of two threads", quantile(floor, 0.5), { max: 2 });
    table.row(noise, "G10", `${trip}, p99`, "us", quantile(micros, 0.99), "its p50", quantile(micros, 0.5));
  } finally {
    await host.stop();
  }
}
