// `make dev`: both daemons on this machine until Ctrl-C or SIGTERM; context `dev` of the checkout's arc points at them.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { root, startHost } from "./host.ts";
import { giveBack, needRoot } from "./root.ts";

const stopped = new Promise<void>((resolve) => {
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => resolve());
});
await needRoot(import.meta.path);
const configDir = join(root, "out/arc");
mkdirSync(configDir, { recursive: true });
const host = await startHost({ context: "dev", configDir });
await host.arc(["device", "use", "dev"]);
giveBack(configDir);
console.log(`ready ${host.listen} context=dev state=${host.dir}`);
await stopped;
console.error("dev: stopping");
await host.stop();
process.exit(0);
