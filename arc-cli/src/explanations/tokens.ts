//! Explanations of what the policy, the leases, the guest door and the audit of a device say.

import type { Explanation } from "../explanations.ts";

type Rows = readonly (readonly [code: string, title: string, text: string, ...fix: string[]])[];

const policy: Rows = [
  ["RULE_INVALID", "rule is wrong", "A policy rule has a name of 1 to 64 of a-z, 0-9, `-`, `.`, `_`, at least one kind or token, and owners and subjects that can exist. The message names the field.", "arc policy add --help"],
  ["RULE_EXISTS", "rule exists", "Another rule has this name. Choose another with --name, or remove the other one first.", "arc policy list"],
  ["RULE_UNKNOWN", "no such rule", "No rule of the device has this name.", "arc policy list"],
  ["RULE_FIXED", "rule is in the configuration", "The rule stands in the configuration file of the device's sandbox service (`[[policy]]` in quilt.toml). It changes with the file and a restart of the service, not over the network.", "arc policy list"],
  ["RULES_FULL", "too many rules", "The device keeps a bounded number of policy rules. Remove some that are not needed.", "arc policy list", "arc policy rm NAME"],
  ["RULES_UNREADABLE", "stored rules are damaged", "The rules that were added on the device cannot be read, so none of them holds and none can be changed. Those of its configuration hold. Its owner must look at the state directory of the sandbox service.", "arc policy list"],
  ["STATE_WRITE", "the sandbox service cannot write", "The disk refused a write to the state of the sandbox service. Nothing was changed."],
  ["AUDIT_KIND", "no such kind of event", "The audit has a fixed list of kinds; `arc audit --help` prints it.", "arc audit --help"],
  ["AUDIT_FAILED", "it could not be audited", "A step that must stand in the audit could not be written there, so it was not done, or was taken back.", "arc doctor"],
];

const leases: Rows = [
  ["TOKEN_TOO_MUCH", "more than there is", "The run asks for more cores, memory or devices than the machine has in all, so it would wait for ever. Ask for less.", "arc leases"],
  ["DEADLOCK", "the wait would never end", "The run would have waited for a holder that waits for it, directly or through others. The request that closes such a cycle is refused; nobody else was touched. Take all tokens at once, or do not hold a token while calling a tool that needs it.", "arc audit --kind lease.deadlock"],
  ["LEASE_EXPIRED", "the lease is over", "The run's lease ended before the run: it was not renewed in time, or was revoked. Nothing was read or written after that."],
  ["LEASE_REVOKED", "the lease was revoked", "The device took the lease back, so the run was ended and its tokens are free."],
  ["REVOKED", "the lease was revoked", "The lease was not renewed in time or the run it belongs to ended. The run was ended and its tokens are free."],
  ["FENCED", "a newer holder has written", "Somebody with a newer lease has written to the same place since, so this write was refused and changed nothing."],
  ["TOKEN_MISSING", "token not held", "The run does not hold a token that covers this operation. Declare it in the tool's `tokens`, build and upload again; the device's policy must allow it too.", "arc policy list"],
  ["TOKEN_WIDENED", "more than its parent has", "A run may give what it starts only what it holds itself, or less."],
  ["PARENT_UNKNOWN", "its parent is gone", "The run that asked for this one has ended meanwhile."],
  ["LOST", "the run was lost", "The device's service ended while the run was running, so its end is not known."],
  ["EXISTS", "exists already", "Something of this name is there already."],
  ["PARENT_TOO_DEEP", "too many levels of calls", "A tool may call a tool that calls a tool, four levels in all. Does it call itself?"],
];

const guest: Rows = [
  ["UNSUPPORTED", "the device has no such operation", "The code asked its device for an operation it does not have. The SDK it was built with may be newer than the device.", "arc version"],
  ["BUDGET_EXHAUSTED", "budget of the run is used up", "A run may use a bounded number of operations and bytes of each resource. Do less in one call."],
  ["EGRESS_DENIED", "the address is not allowed", "The run may not open this connection: the host is not among its `net` tokens, the address behind it is private or reserved, or a redirect leads elsewhere. Nothing was sent.", "arc audit --kind egress.denied"],
  ["EGRESS_REQUEST", "the request cannot be sent", "Its method, address, header or body is not one the device's proxy sends. Nothing was sent."],
  ["EGRESS_BUDGET", "network budget is used up", "A run may open a bounded number of connections and move a bounded number of bytes."],
  ["EGRESS_UNRESOLVED", "no address for this host", "The device found no address for the host's name."],
  ["EGRESS_UNREACHABLE", "the host does not answer", "No address of the host took the connection."],
  ["EGRESS_TLS", "no trust in the host", "The host's certificate does not hold, or the device cannot check it."],
  ["EGRESS_TIMEOUT", "the host is too slow", "The host did not connect, answer or go on in time."],
  ["EGRESS_BROKEN", "the connection broke", "The connection ended before the answer did, or the answer is no HTTP."],
  ["EGRESS_STREAM", "no such connection", "The code used a connection that it never opened or that is over."],
  ["SECRET_UNREADABLE", "secret cannot be read", "The device cannot unseal a secret the run holds; its log says why."],
  ["KEY_EXISTS", "key exists", "The key is there already, and the run holds the right to append only."],
  ["DIMENSION", "vector of another length", "All vectors of a collection have the same length, up to the device's bound."],
  ["REQUEST_INVALID", "the request is wrong", "The code asked its device for something with fields that are missing, of the wrong kind, or too many."],
  ["TOO_MANY_REQUESTS", "too many requests at once", "A run may have 64 requests open at a time. Await some before sending more."],
  ["TOO_LARGE", "too large", "A request, its answer or an event is larger than one frame of 1 MiB. Move it in pieces."],
  ["TOO_DEEP", "too many levels of calls", "A tool may call a tool that calls a tool, four levels in all. Does it call itself?"],
  ["CHANGES_GONE", "changes are not kept any more", "A watch asked for changes of a table that are too old to be kept. List the table, then watch from the newest version seen."],
  ["NO_DEVICE", "no device here", "Resources are on a device, and this code runs where it cannot ask one: outside a sandbox, or as a program without tokens.", "arc exec FILE --token kv:orders:ro"],
  ["VALUE_NOT_JSON", "no JSON form", "Values of tables, metadata and inputs are plain JSON: no NaN, bigint, function, Map or hole in a list."],
  ["DOOR_CLOSED", "the device ended the talk", "The way from the code to its device was closed while a request was open; the run is being ended."],
  ["SIGNATURE_INVALID", "malformed signature", "The envelope, the statement in it, or the link to the bundle is not what the format says, or it is about another bundle. Build and sign it again.", "arc build"],
  ["KV_FULL", "the key-value store is full", "The owner's key-value data has reached its quota on this device. Delete what is not needed."],
];

export const tokens: readonly Explanation[] = [...policy, ...leases, ...guest].map(([code, title, text, ...fix]) => ({ code, title, text, fix }));
