//! Calling other tools of the device.

import { request, toJson } from "./guest.ts";
import type { JsonValue } from "./json.ts";

export const tools: {
  /**
   * Calls `<bundle>.<tool>` and gives its answer. Needs the token `tool:<bundle>.<tool>`. The called tool runs under its own tokens,
   * never under those of the caller, and ends with it. Rejects with an `AriaError` whose reason is the called tool's (`THREW`,
   * `DEADLINE`, …) or why it was not called (`TOKEN_MISSING`, `INPUT_SCHEMA`, `DEADLOCK`, `TOO_DEEP`, `QUEUE_FULL`, …).
   */
  call<Output extends JsonValue = JsonValue>(name: string, input?: JsonValue): Promise<Output>;
} = {
  call: async <Output extends JsonValue>(name: string, input: JsonValue = {}): Promise<Output> => {
    const answer = (await request("toolCall", { tool: name, inputJson: toJson(input) })) as { outputJson: string };
    return JSON.parse(answer.outputJson) as Output;
  },
};
