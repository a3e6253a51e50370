//! `arc audit`: what the device decided and did.

import { contextOption, withDevice } from "../client/session.ts";
import { command, flag, option } from "../command.ts";
import { Exit } from "../errors.ts";
import { escapeLine } from "../escape.ts";
import type { AuditListResponse } from "../gen/aria/v1/audit_pb.ts";
import { isJson, RawJson } from "../json.ts";
import type { Style } from "../ui.ts";
import { count, since } from "../values.ts";

const kinds = [
  "call.refused",
  "call.finished",
  "lease.granted",
  "lease.denied",
  "lease.revoked",
  "lease.deadlock",
  "lease.lost",
  "guest.denied",
  "egress.denied",
  "policy.added",
  "policy.removed",
  "bundle.installed",
  "bundle.changed", "bundle.removed",
  "credential.enrolled",
  "credential.revoked",
  "secret.set",
  "secret.removed",
  "audit.trimmed",
] as const;

export const audit = command({
  name: "audit",
  summary: "Show what the device decided and did",
  description: "One line for each refusal and each step: calls, leases, rules, bundles, keys. Values that tools read or write never stand in it.",
  args: {
    follow: flag({ short: "f", help: "Go on as new events come" }),
    since: option({ value: "TIME", help: "Only newer than this: 10m, 2h, or an RFC 3339 time", parse: (text) => since(text, Date.now()) }),
    kind: option({ value: "KIND", help: "Only events of this kind", choices: kinds }),
    owner: option({ value: "OWNER", help: "Only this owner's; absent: everything this identity may see" }),
    invocation: option({ value: "ID", help: "Only what is about this run" }),
    limit: option({ value: "N", help: "At most this many of the newest; absent: 1000", parse: count, short: "n" }),
    context: contextOption,
  },
  examples: ["arc audit --since 1h", "arc audit --kind call.refused --owner ann", "arc audit -f"],
  async run({ follow, since: from, kind, owner, invocation, limit, context: name }, context) {
    const { ui, signal } = context;
    const request = { kind: kind ?? "", owner: owner ?? "", invocationId: invocation ?? "", since: from ?? "", follow, tail: limit ?? 0 };
    return await withDevice(name, context, "read the audit", async (device) => {
      try {
        for await (const event of device.audit.list(request, { signal })) {
          if (ui.json) ui.event({ type: "audit", ...eventJson(event) });
          else ui.print(eventText(event, ui.style));
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

function eventJson({ seq, time, kind, owner, invocationId, subject, reason, detailJson }: AuditListResponse): Record<string, unknown> {
  return { seq, time, kind, owner, invocationId, subject, reason, detail: isJson(detailJson) ? new RawJson(detailJson) : null };
}

function eventText({ time, kind, owner, invocationId, subject, reason, detailJson }: AuditListResponse, style: Style): string {
  const bad = /\.(refused|denied|deadlock|revoked|lost)$/.test(kind);
  const words = [
    style.dim(escapeLine(time)),
    (bad ? style.yellow : style.cyan)(escapeLine(kind).padEnd(kindWidth)),
    escapeLine(owner === "" ? "-" : owner),
    escapeLine(subject),
    reason === "" ? "" : style.bold(escapeLine(reason)),
    invocationId === "" ? "" : style.dim(escapeLine(invocationId.slice(0, 12))),
    style.dim(facts(detailJson)),
  ];
  return words.filter((word) => word !== "" && word !== style.dim("")).join(" ");
}

const kindWidth = Math.max(...kinds.map((kind) => kind.length));

/** `{"message":"why","count":3}` → `why (count 3)`. */
function facts(json: string): string {
  const detail: unknown = isJson(json) ? JSON.parse(json) : undefined;
  if (detail === null || typeof detail !== "object") return "";
  const { message, ...rest } = detail as Record<string, unknown>;
  const named = Object.entries(rest).map(([key, value]) => `${key} ${Array.isArray(value) ? value.join(",") : String(value)}`);
  return escapeLine([typeof message === "string" ? message : "", named.length === 0 ? "" : `(${named.join("; ")})`].filter((part) => part !== "").join(" "));
}
