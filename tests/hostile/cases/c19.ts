// case: C19
// attack: make or open System V and POSIX IPC objects, which may outlive the cage
// accepts: line
// profiles: tool, tool-noexec
// cost: light
// control: seccomp

import { Case, list } from "./_case.ts";
import { O, sys } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const c = new Case("C19");
c.able("make raw calls", sys(NR.getpid) === process.pid);

const IPC_CREAT = 0o1000;
const IPC_PRIVATE = 0;
const IPC_RMID = 0;
for (const key of [IPC_PRIVATE, 0x41524941, 0x1, 0x7fffffff]) {
  for (const flags of [IPC_CREAT | 0o600, IPC_CREAT | 0o2000 | 0o600, 0]) {
    const made = {
      shmget: sys(NR.shmget, key, 4096, flags), semget: sys(NR.semget, key, 1, flags), msgget: sys(NR.msgget, key, flags),
    };
    for (const [name, id] of Object.entries(made)) c.filtered(`${name} key ${key} flags ${flags}`, id);
    if (made.shmget >= 0) sys(NR.shmctl, made.shmget, IPC_RMID, 0);
    if (made.semget >= 0) sys(NR.semctl, made.semget, 0, IPC_RMID, 0);
    if (made.msgget >= 0) sys(NR.msgctl, made.msgget, IPC_RMID, 0);
  }
}
// Objects by id, the way a neighbour's would be found; statistics calls tell how many there are.
const buffer = new Uint8Array(4096);
for (let id = 0; id < 64; id++) {
  c.filtered(`shmat ${id}`, sys(NR.shmat, id, 0, 0o10000));
  c.filtered(`shmctl IPC_STAT ${id}`, sys(NR.shmctl, id, 2, buffer));
  c.filtered(`semctl GETVAL ${id}`, sys(NR.semctl, id, 0, 12, 0));
  c.filtered(`msgrcv ${id}`, sys(NR.msgrcv, id, buffer, 64, 0, 0o4000));
  c.filtered(`msgsnd ${id}`, sys(NR.msgsnd, id, buffer, 0, 0o4000));
  c.filtered(`semop ${id}`, sys(NR.semop, id, buffer, 0));
}
for (const command of [3, 13, 14]) c.filtered(`shmctl info ${command}`, sys(NR.shmctl, 0, command, buffer));
for (const name of ["aria", "x", "evil"]) {
  const queue = sys(NR.mq_open, name, O.CREAT | O.RDWR, 0o600, 0);
  c.filtered(`mq_open ${name}`, queue);
  if (queue >= 0) sys(NR.mq_unlink, name);
  c.filtered(`mq_unlink ${name}`, sys(NR.mq_unlink, name));
}
c.filtered("mq_notify", sys(NR.mq_notify, -1, 0));
for (const path of ["/dev/shm", "/dev/mqueue", "/run/shm", "/proc/sysvipc"]) c.held(path, list(path).length === 0);
for (const path of ["/dev/shm/aria-hostile", "/dev/mqueue/aria-hostile", "/run/lock/aria-hostile"]) {
  const fd = sys(NR.open, path, O.CREAT | O.RDWR, 0o600);
  c.refused(`create ${path}`, fd);
  if (fd >= 0) sys(NR.unlink, path);
}
for (const type of ["user", "keyring", "logon", "big_key", "asymmetric"]) {
  for (const ring of [-1, -2, -3, -4, -5]) c.filtered(`add_key ${type} ${ring}`, sys(NR.add_key, type, "aria", "x", 1, ring));
  c.filtered(`request_key ${type}`, sys(NR.request_key, type, "aria", 0, -3));
}
for (let operation = 0; operation < 33; operation++) c.filtered(`keyctl ${operation}`, sys(NR.keyctl, operation, -3, 0, 0, 0));
c.done();
