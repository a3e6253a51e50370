// The QEMU command line of one virtual machine, as a pure function.

export interface Machine {
  memoryMb: number;
  cpus: number;
  /** Directory with vmlinuz, initrd.zst and root.erofs. */
  image: string;
  /** One GPT disk with root and data instead of the two separate ones. */
  wholeDisk?: string | undefined;
  /** File of the data disk, or the socket of a block server. */
  data?: { file: string } | { nbd: string } | undefined;
  /** Host port → guest port, on 127.0.0.1 only. */
  forwards: { host: number; guest: number }[];
  /** Small strings the guest reads through fw_cfg, by name. */
  fwCfg: Record<string, string>;
  /** More words for the kernel. */
  kernelWords: string[];
  serial: string;
  qmp: string;
}

/** QEMU's own separator is the comma; a doubled one stands for itself. */
function quoted(value: string): string {
  return value.replaceAll(",", ",,");
}

export function qemuArgs(machine: Machine): string[] {
  const words = ["console=ttyS0", "quiet", "nosoftlockup", "panic=-1", "aria.on-failure=poweroff"];
  const args = [
    "-M", "q35,accel=tcg", "-cpu", "max", "-smp", String(machine.cpus), "-m", String(machine.memoryMb),
    "-display", "none", "-no-reboot", "-nodefaults", "-no-user-config",
    "-serial", `file:${machine.serial}`, "-qmp", `unix:${quoted(machine.qmp)},server=on,wait=off`,
    "-kernel", `${machine.image}/vmlinuz`, "-initrd", `${machine.image}/initrd.zst`,
    "-device", "virtio-rng-pci",
  ];
  if (machine.wholeDisk === undefined) {
    words.push("aria.root=serial:aria-root", "aria.data=serial:aria-data");
    args.push("-blockdev", `driver=file,filename=${quoted(machine.image)}/root.erofs,node-name=root,read-only=on`);
    args.push("-device", "virtio-blk-pci,drive=root,serial=aria-root");
  } else {
    args.push("-blockdev", `driver=file,filename=${quoted(machine.wholeDisk)},node-name=whole`, "-device", "virtio-blk-pci,drive=whole,serial=aria-disk");
  }
  if (machine.data !== undefined) {
    // The default cache mode is write-back and passes flushes on, which is what a disk does and what fsync needs.
    const backend = "nbd" in machine.data
      ? `driver=nbd,server.type=unix,server.path=${quoted(machine.data.nbd)},export=data,node-name=data`
      : `driver=file,filename=${quoted(machine.data.file)},node-name=data`;
    args.push("-blockdev", backend, "-device", "virtio-blk-pci,drive=data,serial=aria-data");
  }
  // restrict=on: nothing the guest sends can leave this machine.
  const forwards = machine.forwards.map(({ host, guest }) => `,hostfwd=tcp:127.0.0.1:${host}-:${guest}`).join("");
  args.push("-netdev", `user,id=net,restrict=on${forwards}`, "-device", "virtio-net-pci,netdev=net,romfile=");
  for (const [name, value] of Object.entries(machine.fwCfg)) args.push("-fw_cfg", `name=${quoted(name)},string=${quoted(value)}`);
  args.push("-append", [...words, ...machine.kernelWords].join(" "));
  return args;
}
