// One tool called again and again on one open connection: client to answer, in milliseconds.

import { openDevice } from "../../arc-cli/src/client/channel.ts";
import { contextTarget } from "../../arc-cli/src/client/session.ts";
import { chooseContext, loadConfig } from "../../arc-cli/src/config.ts";
import type { Host } from "../stand/host.ts";

/** Unrecorded calls before the samples: page cache, connection, the first launchers. */
const WARM_UP = 3;
/** Teardown and refill are off the path; every row of the bench gets this pause. */
const PAUSE_MS = 20;

export async function invokeTimes(host: Pick<Host, "configDir">, tool: string, input: unknown, rounds: number): Promise<number[]> {
  const target = await contextTarget(chooseContext(await loadConfig(host.configDir), host.configDir, undefined));
  const never = new AbortController().signal;
  const device = await openDevice(target, never, "bench");
  const samples: number[] = [];
  try {
    for (let round = 0; round < rounds + WARM_UP; round++) {
      const start = performance.now();
      let outcome: string | undefined;
      for await (const { event } of device.tools.invoke({ tool, inputJson: JSON.stringify(input) }))
        if (event?.event.case === "finished") outcome = event.event.value.outcome?.kind.case;
      const took = performance.now() - start;
      if (outcome !== "succeeded") throw new Error(`${tool} ended as ${outcome ?? "nothing"}`);
      if (round >= WARM_UP) samples.push(took);
      await Bun.sleep(PAUSE_MS);
    }
  } finally {
    device.close();
  }
  return samples;
}
