// Prints a digest of its own mounts: where, what, how. Numbers that differ from cage to cage are left out.

import { createHash } from "node:crypto";
import { readText, writeAll } from "./_case.ts";

// Where one is mounted over another only the upper one is seen, so only that counts.
const upper = new Map<string, string>();
for (const line of (readText("/proc/self/mountinfo") ?? "").trim().split("\n")) {
  const [before = "", after = ""] = line.split(" - ");
  const [, , , , point, options] = before.split(" ");
  upper.set(point ?? "", `${point} ${options} ${after.split(" ")[0]}`);
}
writeAll(1, new TextEncoder().encode(`MOUNTS ${createHash("sha256").update([...upper.values()].sort().join("\n")).digest("hex").slice(0, 16)}\n`));
