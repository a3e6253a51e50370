// `make dev`: both daemons on this machine until Ctrl-C or SIGTERM; context `dev` of the checkout's arc points at them.

import { chownSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { bun, root, startHost } from "./host.ts";

if (process.getuid?.() !== 0) {
  console.error("dev: the daemons need root; asking sudo once");
  const child = Bun.spawn(["sudo", bun, import.meta.path], { stdin: "inherit", stdout: "inherit", stderr: "inherit" });
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => child.kill(signal));
  process.exit(await child.exited);
}

/** Under sudo the contexts must stay the user's own. */
function giveBack(dir: string): void {
  const [uid, gid] = [Number(process.env.SUDO_UID), Number(process.env.SUDO_GID)];
  if (!Number.isInteger(uid) || !Number.isInteger(gid)) return;
  for (const path of [".", ...readdirSync(dir, { recursive: true, encoding: "utf8" })]) chownSync(join(dir, path), uid, gid);
}

const stopped = new Promise<void>((resolve) => {
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => resolve());
});
const configDir = join(root, "out/arc");
mkdirSync(configDir, { recursive: true });
const host = await startHost({ context: "dev", configDir });
await host.arc(["device", "use", "dev"]);
giveBack(configDir);
console.log(`ready ${host.listen} context=dev state=${host.dir}`);
await stopped;
console.error("dev: stopping");
await host.stop();
