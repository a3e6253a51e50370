//! The table of commands. Modules load when their command runs, so `arc --help` pays for none of them.

import type { AnyCommand, Group } from "./command.ts";

export interface Entry {
  readonly name: string;
  /** The same text as the command's own; a test compares them. */
  readonly summary: string;
  readonly load: () => Promise<AnyCommand | Group>;
}

export interface Section {
  readonly title: string;
  readonly commands: readonly Entry[];
}

export const sections: readonly Section[] = [
  {
    title: "project",
    commands: [
      { name: "new", summary: "Begin a project", load: async () => (await import("./commands/new.ts")).create },
      { name: "dev", summary: "Build on every save and swap it on the device", load: async () => (await import("./commands/dev.ts")).dev },
      { name: "check", summary: "Check the project: types, options, references, authority", load: async () => (await import("./commands/check.ts")).check },
      { name: "build", summary: "Build the project into a bundle", load: async () => (await import("./commands/build.ts")).build },
      { name: "sign", summary: "Sign a bundle file", load: async () => (await import("./commands/sign.ts")).sign },
      { name: "key", summary: "Keys that vouch for bundles: new, list, show, trust, revoke", load: async () => (await import("./commands/key.ts")).key },
      { name: "publish", summary: "Put a bundle into a registry or a directory", load: async () => (await import("./commands/publish.ts")).publish },
      { name: "install", summary: "Get bundles and what they need", load: async () => (await import("./commands/install.ts")).install },
      { name: "schema", summary: "Print the JSON Schema of a tool's input and output", load: async () => (await import("./commands/schema.ts")).schema },
      { name: "gen", summary: "Code made from a bundle's interface: client", load: async () => (await import("./commands/gen.ts")).gen },
      { name: "diff", summary: "Show what differs between two bundles", load: async () => (await import("./commands/diff.ts")).diff },
      { name: "inspect", summary: "Show and verify a bundle file", load: async () => (await import("./commands/inspect.ts")).inspect },
    ],
  },
  {
    title: "device",
    commands: [
      { name: "upload", summary: "Send a bundle to a device", load: async () => (await import("./commands/upload.ts")).upload },
      { name: "ls", summary: "List the bundles and tools on a device", load: async () => (await import("./commands/ls.ts")).ls },
      { name: "rm", summary: "Remove a bundle from a device", load: async () => (await import("./commands/rm.ts")).rm },
      { name: "pin", summary: "Make calls of a bundle go to one version", load: async () => (await import("./commands/pin.ts")).pin },
      { name: "rollback", summary: "Make calls of a bundle go to the version before", load: async () => (await import("./commands/rollback.ts")).rollback },
      { name: "deprecate", summary: "Say why a version should not be used any more", load: async () => (await import("./commands/deprecate.ts")).deprecate },
      { name: "invoke", summary: "Call a tool", load: async () => (await import("./commands/invoke.ts")).invoke },
      { name: "exec", summary: "Run a script in a sandbox on a device", load: async () => (await import("./commands/exec.ts")).exec },
      { name: "runs", summary: "List what was run, newest first", load: async () => (await import("./commands/runs.ts")).runs },
      { name: "run", summary: "Show one run: its end, what it used, its last lines", load: async () => (await import("./commands/run.ts")).run },
      { name: "logs", summary: "Show what runs wrote and what happened to them", load: async () => (await import("./commands/logs.ts")).logs },
      { name: "leases", summary: "Show who holds which tokens, who waits, and why", load: async () => (await import("./commands/leases.ts")).leases },
      { name: "audit", summary: "Show what the device decided and did", load: async () => (await import("./commands/audit.ts")).audit },
      { name: "secret", summary: "Values the device adds to requests of tools: set, ls, rm", load: async () => (await import("./commands/secret.ts")).secret },
      { name: "policy", summary: "Which tokens the device grants: list, add, rm", load: async () => (await import("./commands/policy.ts")).policy },
      { name: "device", summary: "Devices and identities: init, add, key, use, ls, rm, renew, credentials, invite, revoke", load: async () => (await import("./commands/device.ts")).device },
    ],
  },
  {
    title: "help",
    commands: [
      { name: "explain", summary: "Explain an error code", load: async () => (await import("./commands/explain.ts")).explain },
      { name: "doctor", summary: "Check toolchain, credentials and device", load: async () => (await import("./commands/doctor.ts")).doctor },
      { name: "version", summary: "Versions of arc and of the device", load: async () => (await import("./commands/version.ts")).version },
      { name: "completion", summary: "Print a completion script for bash, zsh or fish", load: async () => (await import("./commands/completion.ts")).completion },
      { name: "help", summary: "Help on arc or one of its commands", load: async () => (await import("./commands/help.ts")).help },
    ],
  },
];

/** For programs, not for people: found, and not listed. */
export const hidden: readonly Entry[] = [{ name: "__complete", summary: "Candidates for the last word, for completion scripts", load: async () => (await import("./commands/complete.ts")).complete }];

export const entries: readonly Entry[] = sections.flatMap(({ commands }) => commands);

export function isGroup(loaded: AnyCommand | Group): loaded is Group {
  return "commands" in loaded;
}
