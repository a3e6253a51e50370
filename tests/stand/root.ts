// The daemons need root. A user who is not root is asked by sudo once, for a program that ends when this one does, and keeps what
// it wrote below the checkout.

import { resolve } from "node:path";

const checkout = resolve(import.meta.dir, "../..");
/** What root must know to act like this user: where the toolchain is, and what `make` was asked. */
const KEPT = ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "CASES", "VM", "PROFILE", "FULL", "REPORT", "ONLY", "QUICK", "CI", "NO_COLOR", "FORCE_COLOR"];

/** Tells the root process that its stdin is the life line of its parent. */
const PIPE = "ARIA_STAND_PIPE";

/** The command that runs `argv` as root, for whoever asks. */
export function asRoot(argv: string[]): string[] {
  if (process.getuid?.() === 0) return argv;
  const kept = KEPT.flatMap((name) => (process.env[name] === undefined ? [] : [`${name}=${process.env[name]}`]));
  return ["sudo", "--", "env", ...kept, ...argv];
}

/** Starts this very program again as root when it is not, and ends with its exit code. Returns at once for root. */
export async function needRoot(script: string, args: string[] = process.argv.slice(2)): Promise<void> {
  if (process.getuid?.() === 0) {
    if (process.env[PIPE] !== undefined) process.stdin.on("end", () => process.kill(process.pid, "SIGTERM")).resume();
    return;
  }
  console.error("this needs root; asking sudo once");
  // A root process takes no signal from us; it ends when this pipe closes.
  const child = (() => {
    try {
      return Bun.spawn(asRoot(["env", `${PIPE}=1`, process.execPath, script, ...args]), { stdin: "pipe", stdout: "inherit", stderr: "inherit" });
    } catch {
      console.error("there is no sudo here: run this as root");
      process.exit(1);
    }
  })();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => void child.stdin.end());
  const code = await child.exited;
  giveBack();
  process.exit(code);
}

/** Gives what root wrote below `dir` back to the user behind sudo. */
export function giveBack(dir: string = checkout): void {
  const [uid, gid] = [process.env.SUDO_UID ?? process.getuid?.(), process.env.SUDO_GID ?? process.getgid?.()];
  if (String(uid) === "0") return;
  Bun.spawnSync(asRoot(["chown", "--recursive", "--no-dereference", "--from=root", `${uid}:${gid}`, dir]));
}
