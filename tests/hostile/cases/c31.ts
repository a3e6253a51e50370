// case: C31
// attack: connect to Unix sockets of the host: by path, by alias of the path, and abstract names, known and listed
// accepts: line
// profiles: tool, tool-noexec
// cost: light
// control: network-namespace

import { Case, readText } from "./_case.ts";
import { E, show, sys } from "./_ffi.ts";
import { unixAddress } from "./_net.ts";
import { NR } from "./_nr.ts";

const c = new Case("C31");
// Proof that the probe can connect at all: a socket of its own, by path and abstract.
for (const name of ["/tmp/own.sock", "\0own"]) {
  const server = sys(NR.socket, 1, 1, 0);
  const to = unixAddress(name);
  const works = sys(NR.bind, server, to, to.length) === 0 && sys(NR.listen, server, 1) === 0;
  const client = sys(NR.socket, 1, 1 | 0o4000, 0);
  const answer = sys(NR.connect, client, to, to.length);
  // Landlock may scope abstract names; its own stay reachable.
  c.able(`connect to its own ${JSON.stringify(name)}`, works && answer === 0);
  sys(NR.close, client);
  sys(NR.close, server);
}

const SOCKETS = ["run/quilt/api.sock", "run/aria/api.sock", "run/quilt.sock", "run/aria.sock", "run/docker.sock", "var/run/docker.sock", "run/containerd/containerd.sock", "run/crio/crio.sock",
  "run/podman/podman.sock", "run/dbus/system_bus_socket", "run/systemd/private", "run/systemd/notify", "run/systemd/journal/stdout", "run/systemd/journal/dev-log", "dev/log", "run/udev/control",
  "run/acpid.socket", "tmp/.X11-unix/X0", "var/lib/aria/api.sock", "data/aria/api.sock", "run/nscd/socket", "run/snapd.socket", "run/libvirt/libvirt-sock", "run/user/0/bus", "run/user/1000/bus"];
const connects = (name: string, type: number): number => {
  const fd = sys(NR.socket, 1, type | 0o4000, 0);
  const to = unixAddress(name);
  const answer = sys(NR.connect, fd, to, to.length);
  sys(NR.close, fd);
  return answer;
};
for (const socket of SOCKETS) {
  for (const prefix of ["/", "../../../../../", "/proc/self/root/", "/proc/1/root/", "/proc/self/cwd/../"]) {
    for (const type of [1, 2, 5]) {
      const answer = connects(prefix + socket, type);
      c.held(`connect ${prefix}${socket} type ${type}`, answer < 0 && answer !== -E.AGAIN, show(answer));
    }
  }
}

// Abstract names live in the network namespace. Everything the kernel lists, then names other software uses.
const listed = (readText("/proc/self/net/unix") ?? "").split("\n").slice(1).map((line) => line.trim().split(/\s+/)[7] ?? "").filter((name) => name !== "" && !name.includes("own"));
c.held("no foreign socket is listed", listed.length === 0, listed.slice(0, 5).join(" "));
const ABSTRACT = ["aria-hostile-canary", "aria", "quilt", "ariad", "quiltd", "/containerd-shim/aria.sock", "/org/kernel/linux/storage/multipathd", "/tmp/.X11-unix/X0", "dbus", "systemd", "/run/systemd",
  "ISCSIADM_ABSTRACT_NAMESPACE", "/run/aria/api.sock", "/run/quilt/api.sock", "docker", "snap", "netlink"];
for (const name of ABSTRACT) for (const type of [1, 2, 5]) c.held(`abstract ${name} type ${type}`, connects(`\0${name}`, type) < 0);
for (let n = 0; n < 4096; n++) {
  const answer = connects(`\0${n.toString(16).padStart(5, "0")}`, 1);
  if (answer >= 0) c.held(`autobound ${n}`, false);
}
c.held("autobound names swept", true);
// Sending without connecting is another door.
const datagram = sys(NR.socket, 1, 2 | 0o4000, 0);
for (const name of ["/dev/log", "/run/systemd/notify", "/run/systemd/journal/socket", "\0aria-hostile-canary"]) {
  const to = unixAddress(name);
  c.refused(`sendto ${JSON.stringify(name)}`, sys(NR.sendto, datagram, new Uint8Array([1]), 1, 0x40, to, to.length));
}
c.done(`${listed.length} sockets listed`);
