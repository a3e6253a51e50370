//! `arc policy`: which resource tokens the device grants, and to whom.

import { CALL_TIMEOUT_MS, contextOption, withDevice } from "../client/session.ts";
import { command, flag, group, option, positional } from "../command.ts";
import { parseToken, tokenKinds } from "../compiler/token.ts";
import { UserError } from "../errors.ts";
import { escapeLine } from "../escape.ts";
import type { PolicyRule } from "../gen/aria/v1/policy_pb.ts";
import { table } from "../table.ts";

const list = command({
  name: "list",
  summary: "List the rules in the order they are tried",
  args: { context: contextOption },
  async run({ context: name }, context) {
    const { ui, signal } = context;
    const { rules, damaged } = await withDevice(name, context, "list the policy", (device) => device.policy.listRules({}, { signal, timeoutMs: CALL_TIMEOUT_MS }));
    if (damaged !== "") ui.warn(`the rules added on the device cannot be read: ${damaged}`);
    ui.done(rules.map(ruleJson), () => {
      if (rules.length === 0) return "no rule: every token is denied";
      return table(["NAME", "ALLOWS", "OWNERS", "SUBJECTS", "ORIGIN"], rules.map((rule) => [rule.name, allows(rule), everybody(rule.owners), everything(rule.subjects), rule.origin]));
    });
  },
});

const add = command({
  name: "add",
  summary: "Allow tokens",
  description: "The rule holds for the next run and stays across restarts. Give at least one --token or --kind. The same rule again changes nothing.",
  args: {
    token: option({ value: "TOKEN", help: "Allow this token and what it covers, without wildcards", repeat: true, parse: token }),
    kind: option({ value: "KIND", help: "Allow every token of this kind", repeat: true, choices: tokenKinds }),
    owner: option({ value: "OWNER", help: "Only for this owner; absent: for everybody", repeat: true, parse: ownerName }),
    subject: option({ value: "SUBJECT", help: "Only for this tool (tool:<bundle>.<tool>) or for programs (exec); absent: for everything", repeat: true, parse: askingSubject }),
    name: option({ value: "NAME", help: "Name of the rule; absent: made from what it allows", parse: ruleName }),
    dryRun: flag({ help: "Only say what would be added" }),
    context: contextOption,
  },
  examples: ["arc policy add --token kv:orders:rw --owner ann", "arc policy add --kind kv --subject tool:orders.count --name orders-count"],
  async run({ token: tokens, kind: kinds, owner: owners, subject: subjects, name: rule, dryRun, context: name }, context) {
    const { ui, signal } = context;
    if (tokens.length + kinds.length === 0) throw new UserError("ARC2046", "nothing to allow", { hint: "give at least one --token or --kind" });
    const asked = { name: rule ?? "", tokens: [...tokens], kinds: [...kinds], owners: [...owners], subjects: [...subjects] };
    if (dryRun) {
      ui.done({ wouldAdd: { ...asked, name: rule ?? null } }, () => `would allow ${sentence(asked)}`);
      return;
    }
    const answer = await withDevice(name, context, "add a rule", (device) => device.policy.addRule({ rule: asked }, { signal, timeoutMs: CALL_TIMEOUT_MS }));
    const added = answer.rule;
    if (added === undefined) throw new UserError("ARC3009", "add a rule: the device answered without one");
    ui.done({ rule: ruleJson(added), alreadyPresent: answer.alreadyPresent }, () => `${escapeLine(added.name)} allows ${sentence(added)}${answer.alreadyPresent ? " (already present)" : ""}`);
  },
});

const rm = command({
  name: "rm",
  summary: "Remove a rule",
  description: "Runs that hold its tokens keep them until they end. Rules of the device's configuration file cannot be removed from here.",
  args: {
    rule: positional({ value: "NAME", help: "Rule to remove" }),
    dryRun: flag({ help: "Only say what would be removed" }),
    context: contextOption,
  },
  examples: ["arc policy rm orders-count"],
  async run({ rule, dryRun, context: name }, context) {
    const { ui, signal } = context;
    const options = { signal, timeoutMs: CALL_TIMEOUT_MS };
    await withDevice(name, context, `remove rule ${rule}`, async (device) => {
      if (dryRun) {
        const { rules } = await device.policy.listRules({}, options);
        const would = rules.filter((found) => found.name === rule && found.origin === "device");
        ui.done({ wouldRemove: would.map(ruleJson) }, () => would.map((found) => `would remove ${escapeLine(found.name)}, which allows ${sentence(found)}`).join("\n"));
        return;
      }
      const { rule: removed } = await device.policy.removeRule({ name: rule }, options);
      ui.done({ removed: removed === undefined ? null : ruleJson(removed) }, () => `removed ${escapeLine(rule)}`);
    });
  },
});

export const policy = group({ name: "policy", summary: "Which tokens the device grants: list, add, rm", commands: [list, add, rm] });

type Allowed = Pick<PolicyRule, "tokens" | "kinds" | "owners" | "subjects">;

function ruleJson({ name, kinds, tokens, owners, subjects, origin }: PolicyRule): Record<string, unknown> {
  return { name, kinds, tokens, owners, subjects, origin };
}

function allows({ kinds, tokens }: Allowed): string {
  return [...kinds.map((kind) => `every ${kind}`), ...tokens].join(", ");
}

const everybody = (owners: readonly string[]): string => (owners.length === 0 ? "everybody" : owners.join(", "));
const everything = (subjects: readonly string[]): string => (subjects.length === 0 ? "everything" : subjects.join(", "));

function sentence(rule: Allowed): string {
  const only = rule.subjects.length === 0 ? "" : `, only from ${rule.subjects.join(", ")}`;
  return escapeLine(`${allows(rule)} for ${everybody(rule.owners)}${only}`);
}

function ruleName(text: string): string {
  if (!/^[a-z0-9._-]{1,64}$/.test(text)) throw new Error("must be 1 to 64 of a-z, 0-9, `-`, `.`, `_`");
  return text;
}

function ownerName(text: string): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9._@:-]{0,127}$/.test(text)) throw new Error("must be the name of an owner, without wildcards");
  return text;
}

function askingSubject(text: string): string {
  if (text !== "exec" && !/^tool:[a-z][a-z0-9-]{0,62}\.[a-z][a-z0-9-]{0,62}$/.test(text)) throw new Error("must be `exec` or `tool:<bundle>.<tool>`, without wildcards");
  return text;
}

/** The token as written; what is wrong with it is said here and not by the device. */
function token(text: string): string {
  const parsed = parseToken(text);
  if ("error" in parsed) throw new Error(`must be a token such as kv:orders:rw (${parsed.error})`);
  return text;
}
