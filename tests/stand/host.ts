// The two daemons on this machine, without a VM: what `make dev`, the tests, the hostile runs and the benches talk to.
//
// Every host has its own directory, sockets, port, cgroup name and uid range, so several run side by side. `stop()` ends what
// `startHost()` started and removes what it made.

import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, closeSync } from "node:fs";
import { connect } from "node:net";
import { join, resolve } from "node:path";

export const root = resolve(import.meta.dir, "../..");
export const bun = join(root, "out/bin/bun");
export const arcProgram = join(root, "out/bin/arc");

/** Unprivileged numeric ids of ariad on this machine; no account needs to exist for them. */
const ariaUid = 64901;
const ariaGid = 64901;
/** Host uids given to cages come from a block of this size, chosen by the pid of this process. */
const uidBlock = 512;

/** The rule of the image. */
const POLICY = `[[policy]]
name = "what an owner keeps, calls and sends along touches nobody else"
kinds = ["kv", "vector", "tool"]
tokens = ["fs:workspace:rw"]`;

export interface HostOptions {
  /** Context name written for arc (default "dev"). */
  context?: string;
  /** Where arc keeps its contexts (default: a directory of this host's own). */
  configDir?: string;
  /** May `arc exec` run programs? (default yes) */
  exec?: boolean;
  /** Extra lines for aria.toml and quilt.toml, appended as they are. */
  ariaToml?: string;
  quiltToml?: string;
  /** The engine's rules instead of the usual one. */
  policy?: string;
}

export interface Run {
  code: number;
  stdout: string;
  stderr: string;
}

export interface Host {
  /** State of this host: `aria/` (store), `run/` (sockets), `etc/`, `*.log`. */
  dir: string;
  configDir: string;
  /** Address of the API, 127.0.0.1:port. */
  listen: string;
  ariadSocket: string;
  quiltSocket: string;
  /** Name of the cgroup directory below which its cages live. */
  cgroupName: string;
  uidBase: number;
  /** Process ids of the daemons as they are now. */
  pids(): { ariad: number; quiltd: number };
  /** Runs arc against this host. */
  arc(args: string[], options?: { stdin?: string | Uint8Array; cwd?: string; env?: Record<string, string> }): Promise<Run>;
  /** Ends one daemon with a signal and starts it again. */
  restart(name: "ariad" | "quiltd", signal?: NodeJS.Signals): Promise<void>;
  stop(): Promise<void>;
}

export class HostError extends Error {}

/** Runs a program to its end; output is collected, so only for programs that say little. */
export async function run(argv: string[], options: { stdin?: string | Uint8Array; cwd?: string; env?: Record<string, string> } = {}): Promise<Run> {
  const child = Bun.spawn(argv, {
    cwd: options.cwd ?? root,
    env: { ...process.env, ...options.env },
    stdin: options.stdin === undefined ? "ignore" : typeof options.stdin === "string" ? new TextEncoder().encode(options.stdin) : options.stdin,
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, code] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text(), child.exited]);
  return { code, stdout, stderr };
}

/** Waits for a condition, in small steps, for at most `ms`; false when it never came true. */
export async function until(ms: number, condition: () => boolean | Promise<boolean>): Promise<boolean> {
  const end = Date.now() + ms;
  while (Date.now() < end) {
    if (await condition()) return true;
    await Bun.sleep(20);
  }
  return false;
}

/** Whether somebody listens on a Unix socket. */
function answers(path: string): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(path, () => {
      socket.destroy();
      done(true);
    });
    socket.on("error", () => done(false));
  });
}

interface Ready {
  listen: string;
  node_id: string;
  ca_sha256: string;
}

type Daemon = ReturnType<typeof Bun.spawn>;

export async function startHost(options: HostOptions = {}): Promise<Host> {
  if (process.getuid?.() !== 0) throw new HostError("the daemons need root: run this with sudo");
  for (const program of ["ariad", "quiltd", "quilt-init", "bun", "arc"])
    if (!existsSync(join(root, "out/bin", program))) throw new HostError(`out/bin/${program} is missing: run 'make binaries'`);

  const dir = mkdtempSync("/tmp/aria-host-");
  chmodSync(dir, 0o755);
  const tag = dir.slice(-6).toLowerCase();
  const configDir = options.configDir ?? join(dir, "arc");
  const cgroupName = `aria-${tag}`;
  const uidBase = 1_000_000 + (process.pid % 4_000_000) * uidBlock;
  const quiltSocket = join(dir, "run/quilt.sock");
  const ariadSocket = join(dir, "run/aria.sock");
  const readyFile = join(dir, "run/ready.json");
  for (const sub of ["run", "etc", "aria", "quilt"]) mkdirSync(join(dir, sub));
  chownSync(join(dir, "aria"), ariaUid, ariaGid);
  chmodSync(join(dir, "aria"), 0o700);
  chownSync(join(dir, "run"), ariaUid, ariaGid);

  writeFileSync(join(dir, "etc/quilt.toml"), `
[socket]
path = "${quiltSocket}"
gid = ${ariaGid}
[sandbox]
rootfs = "${root}/out/tool-root"
init = "${root}/out/bin/quilt-init"
cgroup_name = "${cgroupName}"
uid_base = ${uidBase}
uid_count = ${uidBlock}
code_roots = ["${dir}/aria"]
[state]
dir = "${dir}/quilt"
${options.policy ?? POLICY}
${options.quiltToml ?? ""}`);
  writeFileSync(join(dir, "etc/aria.toml"), `
[node]
data_dir = "${dir}/aria"
[api]
listen = "127.0.0.1:0"
socket = "${ariadSocket}"
exec = ${options.exec ?? true}
[quilt]
socket = "${quiltSocket}"
${options.ariaToml ?? ""}`);

  const daemons: { ariad?: Daemon; quiltd?: Daemon } = {};
  const launch = (name: "ariad" | "quiltd", argv: string[]): void => {
    const log = openSync(join(dir, `${name}.log`), "a");
    daemons[name] = Bun.spawn(argv, { cwd: dir, env: { PATH: "/usr/bin:/bin" }, stdin: "ignore", stdout: log, stderr: log });
    closeSync(log);
  };
  const tail = (name: string): string => {
    const path = join(dir, `${name}.log`);
    return existsSync(path) ? readFileSync(path, "utf8").split("\n").slice(-30).join("\n") : "";
  };
  const start = {
    async quiltd(): Promise<void> {
      launch("quiltd", [join(root, "out/bin/quiltd"), "--config", join(dir, "etc/quilt.toml")]);
      // The path alone may be a killed engine's.
      const up = await until(15_000, async () => (await answers(quiltSocket)) || daemons.quiltd?.exitCode !== null);
      if (!up || daemons.quiltd?.exitCode !== null) throw new HostError(`quiltd did not start:\n${tail("quiltd")}`);
    },
    async ariad(): Promise<void> {
      rmSync(readyFile, { force: true });
      launch("ariad", ["setpriv", `--reuid=${ariaUid}`, `--regid=${ariaGid}`, "--clear-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all",
        join(root, "out/bin/ariad"), "--config", join(dir, "etc/aria.toml"), "--ready-file", readyFile]);
      const up = await until(15_000, () => existsSync(readyFile) || daemons.ariad?.exitCode !== null);
      if (!up || daemons.ariad?.exitCode !== null) throw new HostError(`ariad did not start:\n${tail("ariad")}`);
    },
  };
  const end = async (name: "ariad" | "quiltd", signal: NodeJS.Signals): Promise<void> => {
    const daemon = daemons[name];
    if (!daemon) return;
    if (daemon.exitCode === null && daemon.signalCode === null) daemon.kill(signal);
    const gone = await Promise.race([daemon.exited.then(() => true), Bun.sleep(15_000).then(() => false)]);
    if (!gone) {
      daemon.kill("SIGKILL");
      await daemon.exited;
    }
  };
  const stop = async (): Promise<void> => {
    await end("ariad", "SIGTERM");
    await end("quiltd", "SIGTERM");
    rmSync(dir, { recursive: true, force: true });
  };

  try {
    await start.quiltd();
    await start.ariad();
    // The port the kernel chose stays this host's own across restarts, as contexts hold it.
    const listen = (JSON.parse(readFileSync(readyFile, "utf8")) as Ready).listen;
    const config = join(dir, "etc/aria.toml");
    writeFileSync(config, readFileSync(config, "utf8").replace("127.0.0.1:0", listen));
    const host: Host = {
      dir, configDir, ariadSocket, quiltSocket, cgroupName, uidBase, stop, listen,
      pids: () => ({ ariad: daemons.ariad?.pid ?? 0, quiltd: daemons.quiltd?.pid ?? 0 }),
      arc: (args, more = {}) => run([arcProgram, ...args], { ...more, env: { ARC_CONFIG_DIR: configDir, NO_COLOR: "1", ...more.env } }),
      async restart(name, signal = "SIGTERM") {
        await end(name, signal);
        await start[name]();
      },
    };
    const enrolled = await host.arc(["device", "init", "--socket", ariadSocket, "--name", options.context ?? "dev"]);
    if (enrolled.code !== 0) throw new HostError(`arc device init: exit ${enrolled.code}\n${enrolled.stderr}\n${tail("ariad")}`);
    return host;
  } catch (error) {
    await stop();
    throw error;
  }
}
