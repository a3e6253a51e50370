//! `arc leases`: who holds which resource tokens, who waits, and why.

import { CALL_TIMEOUT_MS, contextOption, withDevice } from "../client/session.ts";
import { command, flag } from "../command.ts";
import { Exit } from "../errors.ts";
import { escapeLine } from "../escape.ts";
import type { LeaseBlocker, LeaseCapacity, LeaseHolder, LeaseWaiter, LeasesListResponse } from "../gen/aria/v1/leases_pb.ts";
import { bytesText, table } from "../table.ts";
import type { Style } from "../ui.ts";

export const leases = command({
  name: "leases",
  summary: "Show who holds which tokens, who waits, and why",
  args: {
    follow: flag({ short: "f", help: "Go on as it changes" }),
    context: contextOption,
  },
  examples: ["arc leases", "arc leases -f --json"],
  async run({ follow, context: name }, context) {
    const { ui, signal } = context;
    const options = follow ? { signal } : { signal, timeoutMs: CALL_TIMEOUT_MS };
    return await withDevice(name, context, "look at the leases", async (device) => {
      try {
        for await (const snapshot of device.leases.list({ follow }, options)) {
          if (follow && ui.json) ui.event({ type: "leases", ...snapshotJson(snapshot) });
          else if (follow) ui.print(`${ui.style.dim(escapeLine(snapshot.time))}\n${snapshotText(snapshot, ui.style)}\n`);
          else ui.done(snapshotJson(snapshot), () => snapshotText(snapshot, ui.style));
          await ui.flush();
        }
      } catch (error) {
        // Ctrl-C is how following ends.
        if (!follow || !signal.aborted) throw error;
        return Exit.interrupted;
      }
      return Exit.ok;
    });
  },
});

function snapshotJson({ time, holders, waiters, capacities, waitersLeftOut }: LeasesListResponse): Record<string, unknown> {
  return {
    time,
    holders: holders.map(({ leaseId, invocationId, owner, tokens, fence, ageMs, ttlMs, priority, parentInvocationId }) => ({ leaseId, invocationId, owner, tokens, fence, ageMs, ttlMs, priority, parentInvocationId })),
    waiters: waiters.map(({ invocationId, owner, tokens, waitedMs, position, blockedBy, priority, parentInvocationId }) => ({
      position,
      invocationId,
      owner,
      tokens,
      waitedMs,
      priority,
      parentInvocationId,
      blockedBy: blockedBy.map((blocker) => ({ invocationId: blocker.invocationId, owner: blocker.owner, token: blocker.token, held: blocker.held, holds: blocker.holds })),
    })),
    capacities: capacities.map(({ name, total, used }) => ({ name, total, used })),
    waitersLeftOut,
  };
}

function snapshotText({ holders, waiters, capacities, waitersLeftOut }: LeasesListResponse, style: Style): string {
  const parts = [holders.length === 0 ? "nothing is held" : table(["RUN", "OWNER", "TOKENS", "AGE", "ENDS IN", "FENCE"], holders.map(holderRow))];
  if (waiters.length > 0) parts.push(waiters.map((waiter) => waiterText(waiter, style)).join("\n"));
  if (waitersLeftOut > 0) parts.push(`and ${waitersLeftOut} more wait`);
  if (capacities.length > 0) parts.push(table(["RESOURCE", "USED", "OF"], capacities.map(capacityRow)));
  return parts.join("\n\n");
}

function holderRow({ invocationId, owner, tokens, ageMs, ttlMs, fence, parentInvocationId }: LeaseHolder): string[] {
  const child = parentInvocationId === "" ? "" : ` (of ${parentInvocationId.slice(0, 12)})`;
  return [`${invocationId.slice(0, 12)}${child}`, owner, tokens.length === 0 ? "-" : tokens.join(" "), span(ageMs), span(ttlMs), fence.toString()];
}

function waiterText({ position, invocationId, owner, tokens, waitedMs, blockedBy }: LeaseWaiter, style: Style): string {
  const head = `${style.yellow(`waiting ${position}`)}  ${escapeLine(invocationId.slice(0, 12))} ${escapeLine(owner)} wants ${escapeLine(tokens.length === 0 ? "a place" : tokens.join(" "))} for ${span(waitedMs)}`;
  return [head, ...blockedBy.map((blocker) => `  because ${escapeLine(why(blocker))}`)].join("\n");
}

function why({ invocationId, owner, token, held, holds }: LeaseBlocker): string {
  const what = token === "slot" ? "a place" : token;
  if (held === "" && invocationId === "") return `${what} is short`;
  const who = invocationId === "" ? "somebody else" : `${invocationId.slice(0, 12)} (${owner})`;
  if (!holds) return `${who} came first${held === "" ? "" : ` for ${held}`}`;
  return `${what} is held by ${who}${held === "" ? "" : ` as ${held}`}`;
}

function capacityRow({ name, total, used }: LeaseCapacity): string[] {
  const text = (value: bigint): string => (name === "mem" ? bytesText(Number(value)) : name === "cpu" ? `${Number(value) / 1000}` : value.toString());
  return [name, text(used), text(total)];
}

/** 850 ms, 12 s, 3 min, 2 h. */
function span(milliseconds: bigint): string {
  const value = Number(milliseconds);
  if (value < 1000) return `${value} ms`;
  const seconds = Math.floor(value / 1000);
  if (seconds < 120) return `${seconds} s`;
  return seconds < 7200 ? `${Math.floor(seconds / 60)} min` : `${Math.floor(seconds / 3600)} h`;
}
