//! The one table from what the device (or the way to it) said to error code and exit code.

import { Code, ConnectError } from "@connectrpc/connect";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { DeviceError, Exit, type ExitCode, UserError } from "../errors.ts";

/** gRPC status → name, exit, and whether the same call may succeed later by itself. */
const STATUS: Readonly<Record<Code, { readonly name: string; readonly exit: ExitCode; readonly retryable: boolean }>> = {
  // Not by us: an interrupt of this arc is recognised by its own signal, before this table is asked.
  [Code.Canceled]: { name: "CANCELLED", exit: Exit.unavailable, retryable: true },
  [Code.Unknown]: { name: "UNKNOWN", exit: Exit.unexpected, retryable: false },
  [Code.InvalidArgument]: { name: "INVALID_ARGUMENT", exit: Exit.usage, retryable: false },
  [Code.DeadlineExceeded]: { name: "DEADLINE_EXCEEDED", exit: Exit.unavailable, retryable: true },
  [Code.NotFound]: { name: "NOT_FOUND", exit: Exit.notFound, retryable: false },
  [Code.AlreadyExists]: { name: "ALREADY_EXISTS", exit: Exit.conflict, retryable: false },
  [Code.PermissionDenied]: { name: "PERMISSION_DENIED", exit: Exit.denied, retryable: false },
  [Code.ResourceExhausted]: { name: "RESOURCE_EXHAUSTED", exit: Exit.exhausted, retryable: true },
  [Code.FailedPrecondition]: { name: "FAILED_PRECONDITION", exit: Exit.conflict, retryable: false },
  [Code.Aborted]: { name: "ABORTED", exit: Exit.conflict, retryable: true },
  [Code.OutOfRange]: { name: "OUT_OF_RANGE", exit: Exit.usage, retryable: false },
  [Code.Unimplemented]: { name: "UNIMPLEMENTED", exit: Exit.conflict, retryable: false },
  [Code.Internal]: { name: "INTERNAL", exit: Exit.unexpected, retryable: false },
  [Code.Unavailable]: { name: "UNAVAILABLE", exit: Exit.unavailable, retryable: true },
  [Code.DataLoss]: { name: "DATA_LOSS", exit: Exit.unexpected, retryable: false },
  [Code.Unauthenticated]: { name: "UNAUTHENTICATED", exit: Exit.denied, retryable: false },
};

/** Where a reason says more than its status. */
const REASON_EXIT: Readonly<Record<string, ExitCode>> = {
  DIGEST_MISMATCH: Exit.conflict,
  FORMAT_UNSUPPORTED: Exit.conflict,
  QUEUE_FULL: Exit.unavailable,
  SIGNATURE_MISSING: Exit.trust,
  SIGNATURE_BAD: Exit.trust,
  SIGNATURE_INVALID: Exit.trust,
  SIGNER_UNKNOWN: Exit.trust,
  SIGNER_REVOKED: Exit.trust,
  SIGNER_EXPIRED: Exit.trust,
  PUBLISHER_MISMATCH: Exit.trust,
  AUTHORITY_WIDENED: Exit.approval,
  SHUTDOWN: Exit.unavailable,
};

/** The exit code a reason has of its own, if any. */
export function reasonExit(reason: string): ExitCode | undefined {
  return REASON_EXIT[reason];
}

/** What to do about it, by reason or by status. */
const HINTS: Readonly<Record<string, { readonly hint: string; readonly fix?: readonly string[] }>> = {
  TOOL_UNKNOWN: { hint: "the device has no tool of this name", fix: ["arc ls"] },
  BUNDLE_UNKNOWN: { hint: "the device has no bundle of this name and version", fix: ["arc ls"] },
  BUNDLE_IN_USE: { hint: "remove those first, or with it: --with-dependants", fix: ["arc ls"] },
  DEPENDENCY_MISSING: { hint: "install what it needs first; `arc install` does that in order" },
  NO_PREVIOUS: { hint: "choose a version with `arc pin`", fix: ["arc ls"] },
  TOOL_AMBIGUOUS: { hint: "write the whole name, <bundle>.<tool>" },
  VERSION_TAKEN: { hint: "other contents have this version already; raise the version in arc.toml or remove the installed one" },
  SIGNATURE_MISSING: { hint: "sign it, and have the device trust the key", fix: ["arc sign FILE", "arc key trust"] },
  SIGNATURE_BAD: { hint: "the file was changed after it was signed, or signed wrongly; build it again", fix: ["arc build"] },
  SIGNER_UNKNOWN: { hint: "have the device trust the key, if you trust it", fix: ["arc key list --device", "arc key trust"] },
  SIGNER_REVOKED: { hint: "sign with another key of the publisher and upload again", fix: ["arc key list --device", "arc sign FILE --key NAME"] },
  SIGNER_EXPIRED: { hint: "trust the key for longer, or sign with another one", fix: ["arc key list --device"] },
  PUBLISHER_MISMATCH: { hint: "give the bundle another name, or sign it with a key of the name's publisher", fix: ["arc key list --device"] },
  PUBLISHER_TAKEN: { hint: "choose another name with --as; or say --joins when it is one more key of the same publisher", fix: ["arc key list --device"] },
  BUNDLE_ROLLBACK: { hint: "raise the version in arc.toml; to go back, build the older sources under a higher version" },
  INPUT_SCHEMA: { hint: "the input does not have the form the tool declares" },
  INPUT_TOO_LARGE: { hint: "send large data with --file" },
  QUEUE_FULL: { hint: "the device is busy; try again" },
  QUILT_DOWN: { hint: "the sandbox service of the device does not answer; try again, or look at its log", fix: ["arc doctor"] },
  TOKEN_NOT_ALLOWED: { hint: "no rule of the device's policy allows this", fix: ["arc policy list"] },
  TOKEN_TOO_MUCH: { hint: "ask for no more than the machine has", fix: ["arc leases"] },
  TOKEN_WAIT: { hint: "somebody held it for too long; try again", fix: ["arc leases"] },
  DEADLOCK: { hint: "take all tokens at once, or let go of them before calling what needs them" },
  RULE_EXISTS: { hint: "another rule has this name; choose one with --name, or remove it first", fix: ["arc policy list"] },
  RULE_UNKNOWN: { hint: "the device has no rule of this name", fix: ["arc policy list"] },
  RULE_FIXED: { hint: "it stands in the device's configuration (`[[policy]]` in quilt.toml) and changes with that file and a restart" },
  EXEC_DISABLED: { hint: "this device does not run programs; its owner can allow it (`[api] exec = true`)" },
  ENROLMENT_CLOSED: { hint: "the device expects another key, or its enrolment window is over", fix: ["arc device key"] },
  ROLE: { hint: "ask the device's owner for the operator role" },
  DISK_QUOTA: { hint: "remove bundles that are not needed", fix: ["arc ls", "arc rm NAME@VERSION"] },
  CREDENTIAL_MISSING: { hint: "only root and the group `aria` may use the socket" },
  UNAUTHENTICATED: { hint: "enrol again", fix: ["arc device init"] },
  UNAVAILABLE: { hint: "is the device up?", fix: ["arc doctor"] },
  DEADLINE_EXCEEDED: { hint: "the device did not answer in time; try again" },
  UNIMPLEMENTED: { hint: "the device is older than this arc", fix: ["arc version"] },
  KIND_NOT_BUILT: { hint: "its bundle's tools can be called" },
};

/** The facts of a `google.rpc.Status` that arc uses. */
export interface StatusFacts {
  readonly reason: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly retryAfterMs: number | undefined;
}

/** Any failure of a call as an error for people. `doing` completes "… : ", for example "invoke weather.forecast". */
export function deviceError(error: unknown, doing: string): UserError {
  if (error instanceof UserError) return error;
  const failure = ConnectError.from(error);
  // What we were sending failed on this side (reading stdin or a file), and the library wrapped it.
  if (failure.cause instanceof UserError) return failure.cause;
  const transport = transportError(failure, doing);
  if (transport !== undefined) return transport;
  const status = STATUS[failure.code];
  const facts = statusFacts(failure);
  const code = facts.reason === "" ? status.name : facts.reason;
  const help = { ...(HINTS[code] ?? HINTS[status.name]), ...fixOf(facts.metadata) };
  const details = {
    status: status.name,
    reason: facts.reason === "" ? null : facts.reason,
    metadata: facts.metadata,
    ...(facts.retryAfterMs === undefined ? {} : { retryAfterMs: facts.retryAfterMs }),
  };
  const retryable = status.retryable || facts.retryAfterMs !== undefined;
  return new DeviceError(code, `${doing}: ${failure.rawMessage === "" ? status.name : failure.rawMessage}`, {
    exit: reasonExit(code) ?? status.exit,
    retryable,
    details,
    cause: failure,
    ...help,
  });
}

/** The command the device says would help, if it is one that can be pasted without thinking twice. */
function fixOf({ fix }: Readonly<Record<string, string>>): { readonly fix?: readonly string[] } {
  return fix !== undefined && /^arc policy add( --(token|kind|owner|subject|name) [A-Za-z0-9][A-Za-z0-9:._@-]{0,254}){1,8}$/.test(fix) ? { fix: [fix] } : {};
}

/** Failures before any answer: no way to the device, or one side does not trust the other. */
export function transportError(failure: ConnectError, doing: string): UserError | undefined {
  const code = errorCode(failure);
  const common = { cause: failure };
  if (code === undefined) {
    const broke = (failure.code === Code.Canceled || failure.code === Code.Unavailable) && failure.rawMessage.startsWith("http/2 ");
    if (!broke) return undefined;
    return new DeviceError("ARC3001", `${doing}: the connection to the device broke`, { ...common, exit: Exit.unavailable, retryable: true, hint: "is it still up?", fix: ["arc doctor"] });
  }
  if (/^(SELF_SIGNED_CERT_IN_CHAIN|DEPTH_ZERO_SELF_SIGNED_CERT|UNABLE_TO_|CERT_|ERR_TLS_CERT|INVALID_CA|HOSTNAME_MISMATCH)/.test(code)) {
    return new DeviceError("ARC3002", `${doing}: what answers is not the device this context pinned (${code})`, {
      ...common,
      exit: Exit.trust,
      hint: "if the device was set up anew, enrol again; otherwise somebody else answers at its address",
      fix: ["arc device ls", "arc device add NAME --address HOST:PORT --fingerprint SHA256"],
    });
  }
  if (/ALERT/.test(code)) return refusedCertificate(doing, code, failure);
  if (/^(ECONNREFUSED|ENOENT|EHOSTUNREACH|ENETUNREACH|ETIMEDOUT|ECONNRESET|EPIPE|ENOTFOUND|EAI_AGAIN|ENOTCONN|ECONNABORTED|ARC_CONNECT_TIMEOUT)$/.test(code)) {
    return new DeviceError("ARC3001", `${doing}: the device cannot be reached (${code})`, {
      ...common,
      exit: Exit.unavailable,
      retryable: true,
      hint: "is it up, and is the address right?",
      fix: ["arc device ls", "arc doctor"],
    });
  }
  if (code === "EACCES" || code === "EPERM") {
    return new DeviceError("ARC3004", `${doing}: no permission to open the socket`, { ...common, exit: Exit.denied, hint: "only root and the group `aria` may" });
  }
  return undefined;
}

export function refusedCertificate(doing: string, detail: string, cause: unknown): UserError {
  return new DeviceError("ARC3003", `${doing}: the device refuses this certificate (${detail})`, {
    exit: Exit.denied,
    cause,
    hint: "it is not enrolled here, was revoked, or has expired",
    fix: ["arc doctor", "arc device init"],
  });
}

/** The system or TLS error code at the bottom of the cause chain. */
export function errorCode(error: unknown): string | undefined {
  let at: unknown = error;
  for (let depth = 0; depth < 8 && at !== null && typeof at === "object"; depth++) {
    const code = (at as { code?: unknown }).code;
    if (typeof code === "string") return code;
    at = (at as { cause?: unknown }).cause;
  }
  return undefined;
}

/** Reads `ErrorInfo` and `RetryInfo` out of the details; whatever is malformed is as if absent. */
export function statusFacts(failure: ConnectError): StatusFacts {
  let facts: StatusFacts = { reason: "", metadata: {}, retryAfterMs: undefined };
  for (const detail of failure.details) {
    if (!("type" in detail) || !("value" in detail) || !(detail.value instanceof Uint8Array)) continue;
    try {
      if (detail.type === "google.rpc.ErrorInfo") facts = { ...facts, ...errorInfo(detail.value) };
      if (detail.type === "google.rpc.RetryInfo") facts = { ...facts, retryAfterMs: retryDelay(detail.value) };
    } catch {
      // A detail that cannot be read adds nothing; the status itself still stands.
    }
  }
  return facts;
}

function errorInfo(bytes: Uint8Array): Pick<StatusFacts, "reason" | "metadata"> {
  let reason = "";
  const metadata: Record<string, string> = {};
  fields(bytes, (number, reader) => {
    if (number === 1) reason = reader.string();
    else if (number === 3) {
      const [key, value] = entry(reader.bytes());
      metadata[key] = value;
    } else return false;
    return true;
  });
  return { reason: /^[A-Z][A-Z0-9_]{0,63}$/.test(reason) ? reason : "", metadata };
}

function entry(bytes: Uint8Array): [string, string] {
  let [key, value] = ["", ""];
  fields(bytes, (number, reader) => {
    if (number === 1) key = reader.string();
    else if (number === 2) value = reader.string();
    else return false;
    return true;
  });
  return [key, value];
}

function retryDelay(bytes: Uint8Array): number {
  let ms = 0;
  fields(bytes, (number, reader) => {
    if (number !== 1) return false;
    fields(reader.bytes(), (inner, duration) => {
      if (inner === 1) ms += Number(duration.int64()) * 1000;
      else if (inner === 2) ms += duration.int32() / 1e6;
      else return false;
      return true;
    });
    return true;
  });
  return ms;
}

/** Walks one message; `read` answers whether it consumed the field. */
function fields(bytes: Uint8Array, read: (number: number, reader: BinaryReader) => boolean): void {
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [number, type]: [number, WireType] = reader.tag();
    if (!read(number, reader)) reader.skip(type, number);
  }
}
