//! What the library says about a failed call → code and exit. The ways a connection can break are many; these were seen.

import { expect, test } from "bun:test";
import { Code, ConnectError } from "@connectrpc/connect";
import { deviceError, errorCode, statusFacts } from "../../src/client/status.ts";
import { UserError } from "../../src/errors.ts";

const system = (code: string): Error => Object.assign(new Error(code), { code });
const wrapped = (code: Code, message: string, cause?: unknown): ConnectError => new ConnectError(message, code, undefined, undefined, cause);

const cases: [unknown, string, number][] = [
  [wrapped(Code.Canceled, "http/2 stream closed with error code CANCEL (0x8)"), "ARC3001", 7],
  [wrapped(Code.Unavailable, "http/2 connection closed"), "ARC3001", 7],
  [wrapped(Code.Canceled, "the device cancelled"), "CANCELLED", 7],
  [wrapped(Code.Unavailable, "x", system("ECONNREFUSED")), "ARC3001", 7],
  [wrapped(Code.Internal, "x", system("ECONNRESET")), "ARC3001", 7],
  [system("ENOENT"), "ARC3001", 7],
  [system("EACCES"), "ARC3004", 4],
  [wrapped(Code.Internal, "x", system("ERR_SSL_TLSV1_ALERT_CERTIFICATE_REQUIRED")), "ARC3003", 4],
  [wrapped(Code.Internal, "x", system("ERR_SSL_SSLV3_ALERT_CERTIFICATE_UNKNOWN")), "ARC3003", 4],
  [wrapped(Code.Internal, "x", system("SELF_SIGNED_CERT_IN_CHAIN")), "ARC3002", 10],
  [wrapped(Code.Internal, "x", system("ERR_TLS_CERT_ALTNAME_INVALID")), "ARC3002", 10],
  [wrapped(Code.Internal, "x", system("CERT_HAS_EXPIRED")), "ARC3002", 10],
  [wrapped(Code.DeadlineExceeded, "the operation timed out"), "DEADLINE_EXCEEDED", 7],
  [wrapped(Code.Unimplemented, ""), "UNIMPLEMENTED", 6],
  [wrapped(Code.Unknown, "what", new UserError("ARC2040", "read stdin")), "ARC2040", 2],
];
test.each(cases.map(([error, code, exit]) => [String(error), code, exit, error] as const))("%s is %s, exit %i", (_name, code, exit, error) => {
  const found = deviceError(error, "try");
  expect<readonly unknown[]>([found.code, found.exit]).toEqual([code, exit]);
});

test("a cause chain without end is not followed for ever", () => {
  const loop: { cause?: unknown } = {};
  loop.cause = loop;
  expect(errorCode(loop)).toBeUndefined();
});

test("details that are malformed are as if absent", () => {
  const error = wrapped(Code.NotFound, "x");
  error.details = [{ type: "google.rpc.ErrorInfo", value: new Uint8Array([0xff, 0xff, 0xff]) }, { type: "google.rpc.RetryInfo", value: new Uint8Array([10, 2, 8, 3]) }];
  expect(statusFacts(error)).toEqual({ reason: "", metadata: {}, retryAfterMs: 3000 });
});

test("a reason with control characters is no reason", () => {
  const error = wrapped(Code.NotFound, "x");
  error.details = [{ type: "google.rpc.ErrorInfo", value: new Uint8Array([10, 3, 0x41, 0x1b, 0x42]) }];
  expect(deviceError(error, "try").code).toBe("NOT_FOUND");
});
