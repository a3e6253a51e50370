//! `arc run ID`: one run, after the fact.

import { durationText, outcomeText, runJson } from "../client/runs.ts";
import { CALL_TIMEOUT_MS, contextOption, withDevice } from "../client/session.ts";
import { command, option, positional } from "../command.ts";
import { UserError } from "../errors.ts";
import { escapeLine } from "../escape.ts";
import type { BlobRef } from "../gen/aria/v1/common_pb.ts";
import type { StreamLogsResponse } from "../gen/aria/v1/node_pb.ts";
import type { Run } from "../gen/aria/v1/runs_pb.ts";
import { bytesText } from "../table.ts";
import type { Style } from "../ui.ts";
import { count } from "../values.ts";
import { lineJson, lineText } from "./logs.ts";

const LINES_DEFAULT = 20;

export const run = command({
  name: "run",
  summary: "Show one run: its end, what it used, its last lines",
  description: "Input and output are shown by digest and length; their contents are not kept.",
  args: {
    id: positional({ value: "ID", help: "Id of the run, as `arc runs` lists it" }),
    tail: option({ value: "N", help: "At most this many lines of its log", parse: count, default: LINES_DEFAULT, short: "n" }),
    context: contextOption,
  },
  examples: ["arc run 01JD2V6Q6QW6R4ZK2P0C7M3F5T"],
  async run({ id, tail, context: name }, context) {
    const { ui, signal } = context;
    if (!/^[A-Za-z0-9_-]{1,128}$/.test(id)) throw new UserError("ARC2044", `\`${id}\` is no run`, { hint: "`arc runs` lists their ids" });
    const { found, lines } = await withDevice(name, context, `look up run ${id}`, async (device) => {
      const options = { signal, timeoutMs: CALL_TIMEOUT_MS };
      const { run: record } = await device.runs.getRun({ invocationId: id }, options);
      if (record === undefined) throw new UserError("ARC3009", "look up a run: the device answered without one");
      const log: StreamLogsResponse[] = [];
      for await (const line of device.node.streamLogs({ invocationId: id, tail }, options)) log.push(line);
      return { found: record, lines: log };
    });
    ui.done({ run: runJson(found), log: lines.map(lineJson) }, () => [describe(found, ui.style), ...(lines.length === 0 ? [] : ["", ...lines.map((line) => lineText(line, ui.style))])].join("\n"));
  },
});

function describe({ invocationId, tool, bundleDigest, owner, startedAt, endedAt, outcome, message, usage, input, output, logDroppedBytes }: Run, style: Style): string {
  const facts: readonly (readonly [string, string])[] = [
    ["tool", escapeLine(tool)],
    ["outcome", `${outcomeText(escapeLine(outcome), style)}${message === "" ? "" : ` ${escapeLine(message)}`}`],
    ["caller", escapeLine(owner)],
    ["began", escapeLine(startedAt)],
    ["ended", escapeLine(endedAt)],
    ["took", usage === undefined || outcome === "running" ? "" : `${durationText(usage.wallMs)}, ${durationText(usage.cpuMs)} of processor`],
    ["memory", usage === undefined || usage.memoryPeakBytes === 0n ? "" : bytesText(Number(usage.memoryPeakBytes))],
    ["input", valueText(input)],
    ["output", valueText(output)],
    ["bundle", escapeLine(bundleDigest)],
    ["log", logDroppedBytes === 0n ? "" : `${bytesText(Number(logDroppedBytes))} were not kept`],
  ];
  return [style.bold(escapeLine(invocationId)), ...facts.filter(([, value]) => value !== "").map(([label, value]) => `  ${label.padEnd(8)} ${value}`)].join("\n");
}

const valueText = (value: BlobRef | undefined): string => (value === undefined ? "" : `sha256:${escapeLine(value.sha256)}, ${bytesText(Number(value.sizeBytes))}`);
