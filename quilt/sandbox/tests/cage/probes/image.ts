// Writing to, replacing and renaming everything that is not ours.
import * as fs from "node:fs";
import { attempt, sys } from "./prelude.ts";

const refused: Record<string, string> = {};
const places = ["/", "/bin", "/lib", "/lib64", "/etc", "/app", "/in", "/out", "/dev", "/proc", "/lib/aria", "/lib/x86_64-linux-gnu"];
for (const place of places) {
  refused[`create in ${place}`] = attempt(() => fs.writeFileSync(`${place}/new`, "x"));
  refused[`mkdir in ${place}`] = attempt(() => fs.mkdirSync(`${place}/newdir`));
  refused[`link into ${place}`] = attempt(() => fs.symlinkSync("/etc/passwd", `${place}/newlink`));
  refused[`rename ${place}`] = attempt(() => fs.renameSync(place, place.length > 1 ? `${place}2` : "/x"));
  refused[`chmod ${place}`] = attempt(() => fs.chmodSync(place, 0o777));
}
const files = ["/bin/bun", "/etc/passwd", "/etc/hosts", "/lib/aria/harness.js", "/lib/x86_64-linux-gnu/libc.so.6", "/app/main.ts", "/proc/self/exe", "/proc/self/root/etc/passwd"];
for (const file of files) {
  for (const flags of ["w", "r+", "a"]) refused[`open ${file} ${flags}`] = attempt(() => fs.openSync(file, flags));
  refused[`unlink ${file}`] = attempt(() => fs.unlinkSync(file));
  refused[`truncate ${file}`] = attempt(() => fs.truncateSync(file, 0));
  refused[`chmod ${file}`] = attempt(() => fs.chmodSync(file, 0o777));
  refused[`rename ${file}`] = attempt(() => fs.renameSync(file, "/tmp/moved"));
  refused[`hard link ${file}`] = attempt(() => fs.linkSync(file, "/tmp/hard"));
  refused[`utimes ${file}`] = attempt(() => fs.utimesSync(file, 0, 0));
}
// The running program by a descriptor of its own, made writable through /proc.
const self = fs.openSync("/proc/self/exe", "r");
refused["reopen the runtime"] = attempt(() => fs.openSync(`/proc/self/fd/${self}`, "r+"));
refused["reopen the runtime, write only"] = attempt(() => fs.openSync(`/dev/fd/${self}`, "w"));
const shared = sys(9, 0, 4096, 3, 1, self, 0);
refused["map the runtime shared and writable"] = shared === -13 ? "EACCES" : shared === -1 ? "EPERM" : String(shared);
const control = attempt(() => fs.writeFileSync("/tmp/works", "x"));
console.log(JSON.stringify({ control, refused }));
