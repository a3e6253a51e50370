// Takes as many as it can get of everything the kernel counts by user, says how many, and keeps them until its time is over;
// driven by drivers/hoard.ts, which compares what two cages get at the same time.

import { say } from "./_case.ts";
import { sys } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const MOST = 2_000;
const count = (make: () => number): number => {
  let made = 0;
  while (made < MOST && make() >= 0) made += 1;
  return made;
};
const timer = new Int32Array(2);
// Each timer with a signal takes a queued signal from the user's share; this signal is ignored by default.
const SIGWINCH = 28;
const event = new Uint8Array(64);
new DataView(event.buffer).setInt32(8, SIGWINCH, true);
const got: Record<string, number> = {};
got.timers = count(() => sys(NR.timer_create, 1, event, timer));
got.watchers = count(() => sys(NR.inotify_init1, 0));
const pair = new Int32Array(2);
got.pairs = count(() => sys(NR.socketpair, 1, 1, 0, pair));
got.pipe = sys(NR.fcntl, 1, 1031, 1 << 20);
say({ hoard: got });
await Bun.sleep(Number(process.argv[2] ?? 1000));
