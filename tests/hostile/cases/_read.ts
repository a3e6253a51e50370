// Says what is in the table its first argument names; driven by drivers/door.ts.

import { ask } from "./_door.ts";

console.log(`TABLE ${JSON.stringify(ask("kvList", { table: process.argv[2], prefix: "" }))}`);
