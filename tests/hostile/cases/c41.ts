// case: C41
// attack: search files, environment, arguments and the whole of its own memory for secrets planted on the host
// accepts: line
// profiles: tool, tool-noexec
// cost: heavy
// control: seeded-env
// limits: --timeout 120s

import { closeSync, lstatSync, openSync, readSync, readdirSync } from "node:fs";
import { Case, list, readText } from "./_case.ts";
import { O, sys } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("C41");
// A planted secret is this prefix and sixteen hex digits; the prefix is put together here, so that this text is not one.
const PREFIX = Buffer.from(["ARIA", "CANARY", ""].join("-"));
const HEX = /^[0-9a-f]{16}/;
const PATTERNS = [/-----BEGIN [A-Z ]*PRIVATE KEY-----\n[A-Za-z0-9+/=\n]{64}/, /sk-(ant-|live-|proj-)?[A-Za-z0-9]{32,}/, /AKIA[0-9A-Z]{16}/, /ghp_[A-Za-z0-9]{36}/];

const CHUNK = 1 << 20;
const buffer = Buffer.alloc(CHUNK + 64);
const canary = (bytes: Buffer): string | null => {
  for (let at = bytes.indexOf(PREFIX); at >= 0; at = bytes.indexOf(PREFIX, at + 1)) {
    if (HEX.test(bytes.toString("latin1", at + PREFIX.length, at + PREFIX.length + 16))) return bytes.toString("latin1", at, at + PREFIX.length + 16);
  }
  return null;
};
c.able("recognise a planted secret", canary(Buffer.concat([Buffer.from("xx"), PREFIX, Buffer.from("0123456789abcdef")])) !== null);

let files = 0;
let bytes = 0;
function searchFile(path: string): void {
  let fd: number;
  try {
    if (!lstatSync(path).isFile()) return;
    fd = openSync(path, O.RDONLY | O.NONBLOCK);
  } catch {
    return;
  }
  files += 1;
  try {
    for (let at = 0; at < 256 * CHUNK; at += CHUNK) {
      const got = readSync(fd, buffer, 0, buffer.length, at);
      if (got <= 0) break;
      bytes += got;
      const hit = canary(buffer.subarray(0, got));
      if (hit !== null) c.held(path, false, hit);
      if (got < 200_000) for (const pattern of PATTERNS) c.held(`key in ${path}`, !pattern.test(buffer.toString("latin1", 0, got)));
    }
  } catch {
    // Some files below /proc refuse to be read; nothing was seen then.
  } finally {
    closeSync(fd);
  }
}
function walk(directory: string, depth: number): void {
  if (depth > 12) return;
  let entries;
  try {
    entries = readdirSync(directory, { withFileTypes: true });
  } catch {
    return;
  }
  for (const entry of entries) {
    const path = `${directory === "/" ? "" : directory}/${entry.name}`;
    if (entry.isDirectory()) walk(path, depth + 1);
    else searchFile(path);
  }
}
for (const name of list("/")) if (name !== "proc") walk(`/${name}`, 0);
for (const pid of list("/proc").filter((name) => /^\d+$/.test(name))) {
  for (const name of ["environ", "cmdline", "comm", "mountinfo", "status", "cgroup"]) {
    const text = readText(`/proc/${pid}/${name}`);
    if (text !== null) c.held(`/proc/${pid}/${name}`, canary(Buffer.from(text, "latin1")) === null);
  }
}
c.held("files searched", files > 3, `${files} files`);

// Its own memory: a page the kernel or a previous owner left behind would be here. Only what is resident, so untouched reserve is skipped.
const PAGE = 4096;
const mem = sys(NR.open, "/proc/self/mem", O.RDONLY | O.CLOEXEC, 0);
const map = sys(NR.open, "/proc/self/pagemap", O.RDONLY | O.CLOEXEC, 0);
let pagesSeen = 0;
if (mem >= 0 && map >= 0) {
  const own = Buffer.alloc(64 * PAGE);
  const entries = new BigUint64Array(64);
  for (const match of (readText("/proc/self/maps") ?? "").matchAll(/^([0-9a-f]+)-([0-9a-f]+) r(\S+) \S+ \S+ \d+ *(.*)$/gm)) {
    if (match[4] === "[vvar]" || match[4] === "[vsyscall]") continue;
    const end = BigInt(`0x${match[2]}`);
    for (let at = BigInt(`0x${match[1]}`); at < end && pagesSeen < 100_000; at += 64n * 4096n) {
      const got = sys(NR.pread64, map, entries, 512, (at / 4096n) * 8n);
      if (got <= 0) break;
      if (!entries.subarray(0, got / 8).some((entry) => (entry >> 63n) === 1n)) continue;
      const left = Number(end - at);
      const length = sys(NR.pread64, mem, own, Math.min(own.length, left), at);
      if (length <= 0) continue;
      pagesSeen += length / PAGE;
      const hit = canary(own.subarray(0, length));
      // Its own test value above is the one allowed find.
      if (hit !== null && !hit.endsWith("0123456789abcdef")) c.held(`memory at ${at.toString(16)}`, false, hit);
    }
  }
  c.held("memory searched", pagesSeen > 100, `${pagesSeen} pages`);
}
c.done(`${files} files, ${bytes} bytes, ${Math.round(pagesSeen)} pages`);
