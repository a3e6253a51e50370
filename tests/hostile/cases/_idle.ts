// Does nothing for as many milliseconds as its first argument says; the drivers look at it from outside meanwhile.

import { say } from "./_case.ts";

say({ idle: process.pid });
await Bun.sleep(Number(process.argv[2] ?? 1000));
