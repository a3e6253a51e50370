// One booted image in QEMU, for the tests, `make run`, `make demo`, `make hostile VM=1` and the benches.
//
// A machine lives in a directory of its own with a throw-away data disk; the same disk serves across `boot()`s, so a reboot is a
// reboot. The network reaches the guest through one forwarded port on 127.0.0.1 and leads nowhere else. QEMU dies with this process.

import { closeSync, constants, copyFileSync, existsSync, ftruncateSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { arcProgram, root, run, until, type Run } from "./host.ts";
import { qemuArgs } from "./vm-args.ts";
import { brokeBeforeInit, readReady, tail, type Ready } from "./vm-console.ts";
import { BlockServer, WriteCache, type CutOptions } from "./vm-disk.ts";
import { Qmp } from "./vm-qmp.ts";

/** A machine that has not said a word by then never will: the first comes within seconds, also on a busy host. */
const SILENCE_MS = 120_000;

export interface VmOptions {
  /** Guest memory (default 1024). */
  memoryMb?: number;
  cpus?: number;
  /** Size the throw-away data disk has; the guest grows its file system to it (default 4096, sparse). */
  dataMb?: number;
  /** A block server under the data disk that forgets what was not flushed; `cut()` needs it. */
  powerLoss?: true;
  /** Boot this GPT disk image (root and data in one) instead of the two separate ones; used in place. */
  wholeDisk?: string;
  /** Leave the data disk out. */
  noData?: boolean;
  /** More words on the kernel command line, such as `aria.ariad-memory=96M`. */
  kernelWords?: string[];
  /** Where arc keeps its contexts (default: in the machine's directory). */
  configDir?: string;
  /** Context made for arc (default "vm"). */
  context?: string;
  /** Directory of the direct-boot image (default out/image). */
  image?: string;
  /** Seconds until readiness before the boot counts as failed (default 240: shared machines pause). */
  patienceS?: number;
  /** Boot without making arc known to the device. */
  noEnrol?: boolean;
}

export class VmError extends Error {}

type Qemu = ReturnType<typeof Bun.spawn>;

const alive = new Set<Qemu>();
process.on("exit", () => alive.forEach((qemu) => qemu.kill("SIGKILL")));

/** A port that was free a moment ago; QEMU says so if somebody was faster. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => server.listen(0, "127.0.0.1", resolve).once("error", reject));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new VmError("the kernel gave no port");
  return address.port;
}

export class Vm {
  readonly dir: string;
  readonly configDir: string;
  readonly context: string;
  readonly port: number;
  /** Boots that were tried again because the emulated kernel broke before PID 1. */
  retries = 0;
  /** Wall seconds from QEMU's start to readiness, of the newest boot. */
  bootSeconds = 0;
  ready: Ready = { node: "", fingerprint: "", seconds: 0 };
  #options: VmOptions;
  #operator = "";
  #boots = 0;
  #qemu: Qemu | undefined;
  #qmp: Qmp | undefined;
  #disk: BlockServer | undefined;

  private constructor(options: VmOptions, port: number) {
    this.dir = mkdtempSync(join(tmpdir(), "aria-vm-"));
    this.configDir = options.configDir ?? join(this.dir, "arc");
    this.context = options.context ?? "vm";
    this.port = port;
    this.#options = options;
  }

  /** Boots a fresh machine and waits until it serves; arc knows it as the current device unless told otherwise. */
  static async start(options: VmOptions = {}): Promise<Vm> {
    const vm = new Vm(options, await freePort());
    try {
      await vm.#prepare();
      await vm.boot();
      if (!options.noEnrol) await vm.enrol();
      return vm;
    } catch (error) {
      await vm.stop();
      throw error;
    }
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** Console of the newest boot. */
  get console(): string {
    const path = this.#serial;
    return existsSync(path) ? readFileSync(path, "utf8").replaceAll("\r", "") : "";
  }

  get #serial(): string {
    return join(this.dir, `serial-${this.#boots}.log`);
  }

  /** Seconds of processor time QEMU has used, the fair measure on a shared machine. */
  get cpuSeconds(): number {
    const stat = readFileSync(`/proc/${this.#qemu?.pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11]) + Number(fields[12])) / 100;
  }

  get running(): boolean {
    return this.#qemu !== undefined && this.#qemu.exitCode === null && this.#qemu.signalCode === null;
  }

  async #prepare(): Promise<void> {
    const image = this.#image;
    for (const name of ["vmlinuz", "initrd.zst", "root.erofs", "data.img.template"])
      if (!existsSync(join(image, name))) throw new VmError(`${join(image, name)} is missing: run 'make image'`);
    mkdirSync(this.configDir, { recursive: true });
    if (this.#options.wholeDisk === undefined && !this.#options.noData) {
      copyFileSync(join(image, "data.img.template"), this.dataDisk, constants.COPYFILE_FICLONE);
      const fd = openSync(this.dataDisk, "r+");
      ftruncateSync(fd, (this.#options.dataMb ?? 4096) * 2 ** 20);
      closeSync(fd);
    }
    const key = await this.arc(["device", "key", "--json"]);
    if (key.code !== 0) throw new VmError(`arc device key: exit ${key.code}\n${key.stderr}`);
    const hash = /\b[0-9a-f]{64}\b/.exec(key.stdout)?.[0];
    if (hash === undefined) throw new VmError(`arc device key printed no hash: ${key.stdout}`);
    this.#operator = hash;
  }

  get #image(): string {
    return this.#options.image ?? join(root, "out/image");
  }

  /** The data disk's file; change it only while the machine is off. */
  get dataDisk(): string {
    return join(this.dir, "data.img");
  }

  /** Starts the machine on its disk and waits until it is ready. */
  async boot(): Promise<void> {
    if (this.running) throw new VmError("the machine is running");
    for (;;) {
      try {
        return await this.#bootOnce();
      } catch (error) {
        // A console without a single word is a kernel that hung before it had one.
        if (this.retries > 0 || !(this.console === "" || brokeBeforeInit(this.console))) throw error;
        this.retries += 1;
        console.error(`vm: the emulated kernel broke before PID 1, booting once more\n${tail(this.console, 5)}`);
      }
    }
  }

  async #bootOnce(): Promise<void> {
    this.#boots += 1;
    const qmp = join(this.dir, `qmp-${this.#boots}.sock`);
    const args = qemuArgs({
      memoryMb: this.#options.memoryMb ?? 1024, cpus: this.#options.cpus ?? 2, image: this.#image, wholeDisk: this.#options.wholeDisk,
      data: this.#openDisk(), forwards: [{ host: this.port, guest: 7600 }], fwCfg: { "opt/org.aria/operator": this.#operator },
      kernelWords: this.#options.kernelWords ?? [], serial: this.#serial, qmp,
    });
    writeFileSync(this.#serial, "");
    const log = openSync(join(this.dir, "qemu.log"), "a");
    const started = performance.now();
    const qemu = Bun.spawn(["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", ...args], { cwd: this.dir, stdin: "ignore", stdout: log, stderr: log });
    closeSync(log);
    alive.add(qemu);
    this.#qemu = qemu;
    let ready: Ready | undefined;
    const hung = (): boolean => this.console === "" && performance.now() - started > SILENCE_MS;
    await until((this.#options.patienceS ?? 240) * 1000, () => (ready = readReady(this.console)) !== undefined || !this.running || hung());
    if (ready === undefined) {
      const why = this.running ? "was not ready in time" : "stopped before it was ready";
      const words = `${tail(this.console, 40)}\n${readFileSync(join(this.dir, "qemu.log"), "utf8")}`;
      await this.#kill();
      throw new VmError(`the machine ${why}; its console ends with:\n${words}`);
    }
    this.bootSeconds = (performance.now() - started) / 1000;
    this.ready = ready;
    this.#qmp = await Qmp.open(qmp);
  }

  #openDisk(): { file: string } | { nbd: string } | undefined {
    if (this.#options.wholeDisk !== undefined || this.#options.noData) return undefined;
    if (this.#options.powerLoss === undefined) return { file: this.dataDisk };
    const socket = join(this.dir, `disk-${this.#boots}.sock`);
    this.#disk = new BlockServer(socket, new WriteCache(this.dataDisk));
    return { nbd: socket };
  }

  /** Makes arc known to the device with the operator's key, once per device. */
  async enrol(): Promise<void> {
    const add = await this.arc(["device", "add", this.context, "--address", this.address, "--fingerprint", this.ready.fingerprint]);
    if (add.code !== 0) throw new VmError(`arc device add: exit ${add.code}\n${add.stderr}\n${tail(this.console, 20)}`);
    const use = await this.arc(["device", "use", this.context]);
    if (use.code !== 0) throw new VmError(`arc device use: exit ${use.code}\n${use.stderr}`);
  }

  /** Runs arc against this machine. */
  arc(args: string[], options: { stdin?: string | Uint8Array; cwd?: string; env?: Record<string, string> } = {}): Promise<Run> {
    return run([arcProgram, ...args], { ...options, env: { ARC_CONFIG_DIR: this.configDir, NO_COLOR: "1", ...options.env } });
  }

  /** Presses the power button and waits until the machine has gone down in order. */
  async powerOff(): Promise<void> {
    const qemu = this.#qemu;
    if (!qemu || !this.running) throw new VmError("the machine is off");
    await this.#qmp?.send("system_powerdown");
    const down = await Promise.race([qemu.exited.then(() => true), Bun.sleep(60_000).then(() => false)]);
    const log = this.console;
    await this.#kill();
    if (!down) throw new VmError(`the machine did not go down within 60 s of its power button:\n${tail(log, 20)}`);
    if (!/^aria: power off$/m.test(log) || /^aria: unmount /m.test(log)) throw new VmError(`the machine went down out of order:\n${tail(log, 20)}`);
  }

  async reboot(): Promise<void> {
    await this.powerOff();
    await this.boot();
  }

  /** Power is gone, now: unflushed writes are lost and the machine with them. Returns how many bytes were lost. */
  async cut(options: CutOptions = {}): Promise<number> {
    if (!this.#disk) throw new VmError("only a machine with powerLoss can lose power; a killed emulator loses nothing");
    const lost = this.#disk.cache.cut(options);
    await this.#kill();
    return lost;
  }

  /** Bytes the guest has written and not flushed, and flushes so far. */
  get diskState(): { unflushedBytes: number; flushes: number } {
    return { unflushedBytes: this.#disk?.cache.unflushedBytes ?? 0, flushes: this.#disk?.cache.flushes ?? 0 };
  }

  /** From now on the disk lies about flushes: what a device without fsync would look like. */
  ignoreFlushes(): void {
    if (!this.#disk) throw new VmError("only a machine with powerLoss has a disk that can lie");
    this.#disk.cache.ignoreFlush = true;
  }

  async #kill(): Promise<void> {
    this.#qmp?.close();
    this.#qmp = undefined;
    if (this.#qemu) {
      this.#qemu.kill("SIGKILL");
      await this.#qemu.exited;
      alive.delete(this.#qemu);
      this.#qemu = undefined;
    }
    this.#disk?.close();
    this.#disk = undefined;
  }

  /** Ends the machine however it stands and removes what it made. */
  async stop(): Promise<void> {
    await this.#kill();
    rmSync(this.dir, { recursive: true, force: true });
  }
}
