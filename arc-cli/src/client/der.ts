//! The few DER structures arc signs itself: a PKCS #10 request and a self-signed certificate, both for ECDSA P-256.
//!
//! Writing is enough; whatever comes from a device is read by node:crypto.

import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, sign, X509Certificate } from "node:crypto";

const ECDSA_SHA256 = sequence(oid([1, 2, 840, 10045, 4, 3, 2]));

/** A new P-256 key as PKCS #8 PEM. */
export function newKeyPem(): string {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return privateKey.export({ type: "pkcs8", format: "pem" }).toString();
}

/** Lower-case hex SHA-256 of the key's SubjectPublicKeyInfo: what a device is told to expect. */
export function keySha256(keyPem: string): string {
  return sha256Hex(spki(createPrivateKey(keyPem)));
}

/** The same for the key inside a certificate. */
export function publicKeySha256(certificatePem: string): string {
  return sha256Hex(new Uint8Array(new X509Certificate(certificatePem).publicKey.export({ type: "spki", format: "der" })));
}

/** Lower-case hex SHA-256 of a certificate's DER. */
export function certificateSha256(der: Uint8Array): string {
  return sha256Hex(der);
}

/** PKCS #10: "sign this key for this subject". The device ignores everything but key and signature. */
export function certificateRequest(keyPem: string, subject: string): Uint8Array {
  const key = createPrivateKey(keyPem);
  const attributes = tagged(0xa0, new Uint8Array());
  const info = sequence(integer(new Uint8Array([0])), name(subject), spki(key), attributes);
  return signed(key, info);
}

/** A certificate that only carries the key through a TLS handshake; the device looks at the key alone. */
export function selfSigned(keyPem: string, subject: string, now: Date): string {
  const key = createPrivateKey(keyPem);
  const day = 86_400_000;
  const validity = sequence(utcTime(new Date(now.getTime() - day)), utcTime(new Date(now.getTime() + day)));
  const version3 = tagged(0xa0, integer(new Uint8Array([2])));
  const serial = randomBytes(16);
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40;
  const body = sequence(version3, integer(serial), ECDSA_SHA256, name(subject), validity, name(subject), spki(key));
  return pem("CERTIFICATE", signed(key, body));
}

/** DER of the first certificate in a PEM text. Throws when there is none. */
export function certificateDer(text: string): Uint8Array {
  return new Uint8Array(new X509Certificate(text).raw);
}

export function pem(label: string, der: Uint8Array): string {
  const body = Buffer.from(der).toString("base64").replace(/.{64}(?=.)/g, "$&\n");
  return `-----BEGIN ${label}-----\n${body}\n-----END ${label}-----\n`;
}

function signed(key: KeyObject, body: Uint8Array): Uint8Array {
  const signature = sign("sha256", body, { key, dsaEncoding: "der" });
  return sequence(body, ECDSA_SHA256, bitString(signature));
}

function spki(key: KeyObject): Uint8Array {
  return new Uint8Array(createPublicKey(key).export({ type: "spki", format: "der" }));
}

function sha256Hex(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function name(commonName: string): Uint8Array {
  const attribute = sequence(oid([2, 5, 4, 3]), tagged(0x0c, new TextEncoder().encode(commonName)));
  return sequence(tagged(0x31, attribute));
}

/** `YYMMDDHHMMSSZ`, which RFC 5280 asks for until 2049. */
function utcTime(date: Date): Uint8Array {
  const digits = date.toISOString().replace(/[-:T]/g, "").slice(2, 14);
  return tagged(0x17, new TextEncoder().encode(`${digits}Z`));
}

function sequence(...parts: Uint8Array[]): Uint8Array {
  return tagged(0x30, ...parts);
}

function integer(bytes: Uint8Array): Uint8Array {
  return tagged(0x02, bytes);
}

function bitString(bytes: Uint8Array): Uint8Array {
  return tagged(0x03, new Uint8Array([0]), bytes);
}

function oid(arcs: readonly number[]): Uint8Array {
  const [first = 0, second = 0, ...others] = arcs;
  const bytes = [first * 40 + second];
  for (const arc of others) {
    const septets = [arc & 0x7f];
    for (let left = arc >>> 7; left > 0; left >>>= 7) septets.unshift((left & 0x7f) | 0x80);
    bytes.push(...septets);
  }
  return tagged(0x06, new Uint8Array(bytes));
}

function tagged(tag: number, ...parts: Uint8Array[]): Uint8Array {
  const body = Buffer.concat(parts);
  const length: number[] = [];
  if (body.length < 0x80) length.push(body.length);
  else {
    for (let left = body.length; left > 0; left >>>= 8) length.unshift(left & 0xff);
    length.unshift(0x80 | length.length);
  }
  return new Uint8Array(Buffer.concat([new Uint8Array([tag, ...length]), body]));
}
