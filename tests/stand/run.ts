// `make run`: boots the image and stays until Ctrl-C or SIGTERM; context `vm` of the checkout's arc points at it.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { root } from "./host.ts";
import { tail } from "./vm-console.ts";
import { Vm } from "./vm.ts";

const stopped = new Promise<void>((resolve) => {
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => resolve());
});
const configDir = join(root, "out/arc");
mkdirSync(configDir, { recursive: true });
console.error("run: booting the image in QEMU (software emulation)");
const vm = await Vm.start({ configDir, context: "vm" });
console.log(`ready ${vm.address} context=vm boot=${vm.bootSeconds.toFixed(1)}s node=${vm.ready.node} console=${join(vm.dir, "serial-1.log")}`);
const ended = (async () => {
  while (vm.running) await Bun.sleep(200);
  return "ended" as const;
})();
const why = await Promise.race([stopped, ended]);
let code = 0;
if (why === "ended") {
  console.error(`run: the machine stopped by itself; its console ends with:\n${tail(vm.console, 20)}`);
  code = 1;
} else {
  console.error("run: powering off");
  await vm.powerOff();
}
await vm.stop();
process.exit(code);
