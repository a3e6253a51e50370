//! Who vouches for a bundle: a DSSE envelope with Ed25519 signatures over an in-toto statement that names the bundle's digest.
//!
//! Envelope and encoding: github.com/secure-systems-lab/dsse; statement: in-toto attestation v1; keys: RFC 8032, RFC 8410.

import { createHash, createPrivateKey, createPublicKey, sign, verify, type KeyObject } from "node:crypto";

import { BundleError } from "./error.ts";
import { isObject, parseJson, type Json, type JsonObject } from "./json.ts";

const PAYLOAD_TYPE = "application/vnd.in-toto+json";
const STATEMENT_TYPE = "https://in-toto.io/Statement/v1";
const PREDICATE_TYPE = "urn:aria:bundle:v1";
const SIGNATURES_MAX = 8;

/** What a signature says of a bundle; all digests `sha256:<hex>`. */
export interface Statement {
  readonly digest: string;
  readonly name: string;
  readonly version: string;
  readonly interfaceDigest: string;
  readonly authorityDigest: string;
}

export interface Signature {
  /** `sha256:<hex>` of the key's DER SubjectPublicKeyInfo. */
  readonly keyId: string;
  readonly signature: Uint8Array;
}

export interface Envelope {
  readonly payload: Uint8Array;
  readonly statement: Statement;
  readonly signatures: readonly Signature[];
}

/** A new envelope, or the one given with a signature more; signing again with the same key replaces. */
export function signed(statement: Statement, keyPem: string, before?: Envelope): Uint8Array {
  const key = createPrivateKey(keyPem);
  const payload = before?.payload ?? new TextEncoder().encode(statementJson(statement));
  const mine: Signature = { keyId: keyIdOf(createPublicKey(key)), signature: new Uint8Array(sign(null, encoding(payload), key)) };
  const others = (before?.signatures ?? []).filter((one) => one.keyId !== mine.keyId);
  if (others.length >= SIGNATURES_MAX) throw new BundleError("SIGNATURE_INVALID", `the bundle has ${others.length} signatures, which is the most it can have`);
  const signatures = [...others, mine].map((one) => ({ keyid: one.keyId, sig: Buffer.from(one.signature).toString("base64") }));
  return new TextEncoder().encode(JSON.stringify({ payloadType: PAYLOAD_TYPE, payload: Buffer.from(payload).toString("base64"), signatures }));
}

/** Whether one of the envelope's signatures is this key's and holds. */
export function holds(envelope: Envelope, key: KeyObject): boolean {
  const id = keyIdOf(key);
  const mine = envelope.signatures.find((one) => one.keyId === id);
  return mine !== undefined && verify(null, encoding(envelope.payload), key, mine.signature);
}

/** `sha256:<hex>` of the DER SubjectPublicKeyInfo. */
export function keyIdOf(key: KeyObject): string {
  return `sha256:${createHash("sha256").update(key.export({ type: "spki", format: "der" })).digest("hex")}`;
}

/** Reads an envelope that came from anywhere. */
export function readEnvelope(bytes: Uint8Array): Envelope {
  const json = object(parseJson(bytes, "the envelope"), "the envelope", ["payloadType", "payload", "signatures"]);
  if (json["payloadType"] !== PAYLOAD_TYPE) throw new BundleError("FORMAT_UNSUPPORTED", `the envelope does not hold ${PAYLOAD_TYPE}`);
  const payload = base64(json["payload"], "the envelope's payload");
  const listed = json["signatures"];
  if (!Array.isArray(listed) || listed.length === 0 || listed.length > SIGNATURES_MAX) throw invalid(`an envelope has 1 to ${SIGNATURES_MAX} signatures`);
  const signatures = listed.map((item: Json): Signature => {
    const one = object(item, "a signature", ["keyid", "sig"]);
    const keyId = one["keyid"];
    if (typeof keyId !== "string" || !/^sha256:[0-9a-f]{64}$/.test(keyId)) throw invalid("a signature has a keyid that is no sha256 digest");
    const signature = base64(one["sig"], "a signature");
    if (signature.length !== 64) throw invalid("a signature is not 64 bytes");
    return { keyId, signature };
  });
  if (new Set(signatures.map((one) => one.keyId)).size !== signatures.length) throw invalid("a key signs twice");
  return { payload, statement: readStatement(payload), signatures };
}

function readStatement(payload: Uint8Array): Statement {
  const json = object(parseJson(payload, "the statement"), "the statement", ["_type", "subject", "predicateType", "predicate"]);
  if (json["_type"] !== STATEMENT_TYPE || json["predicateType"] !== PREDICATE_TYPE) throw new BundleError("FORMAT_UNSUPPORTED", `the statement is no ${PREDICATE_TYPE}`);
  const subjects = json["subject"];
  if (!Array.isArray(subjects) || subjects.length !== 1) throw invalid("a signature is about exactly one bundle");
  const subject = object(subjects[0] as Json, "the subject", ["name", "digest"]);
  const hex = object(subject["digest"], "the subject's digest", ["sha256"])["sha256"];
  if (typeof hex !== "string" || !/^[0-9a-f]{64}$/.test(hex)) throw invalid("the subject's digest is no sha256");
  const predicate = object(json["predicate"], "the predicate", ["name", "version", "interfaceDigest", "authorityDigest"]);
  const text = (key: string): string => {
    const found = predicate[key];
    if (typeof found !== "string") throw invalid(`the predicate has no ${key}`);
    return found;
  };
  const statement = { digest: `sha256:${hex}`, name: text("name"), version: text("version"), interfaceDigest: text("interfaceDigest"), authorityDigest: text("authorityDigest") };
  if (subject["name"] !== `${statement.name}@${statement.version}`) throw invalid("the subject and the predicate name two bundles");
  return statement;
}

function statementJson({ digest, name, version, interfaceDigest, authorityDigest }: Statement): string {
  return JSON.stringify({
    _type: STATEMENT_TYPE,
    subject: [{ name: `${name}@${version}`, digest: { sha256: digest.replace(/^sha256:/, "") } }],
    predicateType: PREDICATE_TYPE,
    predicate: { name, version, interfaceDigest, authorityDigest },
  });
}

/** DSSE's pre-authentication encoding: `DSSEv1 SP LEN(type) SP type SP LEN(body) SP body`. */
function encoding(payload: Uint8Array): Uint8Array {
  return new Uint8Array(Buffer.concat([Buffer.from(`DSSEv1 ${PAYLOAD_TYPE.length} ${PAYLOAD_TYPE} ${payload.length} `), payload]));
}

function object(json: Json | undefined, what: string, keys: readonly string[]): JsonObject {
  if (!isObject(json)) throw invalid(`${what} is no object`);
  const unknown = Object.keys(json).find((key) => !keys.includes(key) && !key.startsWith("x-"));
  if (unknown !== undefined) throw invalid(`${what} has the unknown key ${JSON.stringify(unknown.slice(0, 80))}`);
  return json;
}

/** Standard base64 in its one canonical form, so that no two texts are the same signature. */
function base64(json: Json | undefined, what: string): Uint8Array {
  const bytes = typeof json === "string" ? Buffer.from(json, "base64") : undefined;
  if (bytes === undefined || bytes.toString("base64") !== json) throw invalid(`${what} is not base64`);
  return new Uint8Array(bytes);
}

function invalid(message: string): BundleError {
  return new BundleError("SIGNATURE_INVALID", message);
}
