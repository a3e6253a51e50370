//! The keys a device takes bundles of, and making one's own key one of them.

import { X509Certificate } from "node:crypto";

import { UserError } from "../errors.ts";
import type { Signer } from "../gen/aria/v1/trust_pb.ts";
import { type AuthorKey, DEFAULT_KEY, findKey, makeKey } from "../trust/keys.ts";
import type { Device } from "./channel.ts";
import { CALL_TIMEOUT_MS } from "./session.ts";

export interface SignerJson {
  readonly keyId: string;
  readonly publisher: string;
  readonly trustedAt: string;
  readonly trustedBy: string;
  readonly expiresAt: string | null;
  readonly revokedAt: string | null;
}

export function signerJson({ keyId, publisher, trustedAt, trustedBy, expiresAt, revokedAt }: Signer): SignerJson {
  return { keyId, publisher, trustedAt, trustedBy, expiresAt: expiresAt || null, revokedAt: revokedAt || null };
}

/** DER SubjectPublicKeyInfo, as devices take it. */
export function publicKeyDer({ publicKey }: Pick<AuthorKey, "publicKey">): Uint8Array<ArrayBuffer> {
  return new Uint8Array(publicKey.export({ type: "spki", format: "der" }));
}

/** The author's default key, made when there is none. */
export async function authorKey(dir: string): Promise<AuthorKey> {
  return (await findKey(dir, DEFAULT_KEY)) ?? (await makeKey(dir, DEFAULT_KEY));
}

/** Who a certificate says its holder is. */
export function subjectOf(certificatePem: string): string {
  return /^CN=(.*)$/m.exec(new X509Certificate(certificatePem).subject)?.[1] ?? "";
}

/**
 * Has the device take bundles of this key; the publisher it speaks for there. A name that another key has is made unique with this
 * key's hash, because a publisher is never handed over in passing.
 */
export async function trustOwnKey(device: Device, key: AuthorKey, publisher: string, signal: AbortSignal): Promise<string> {
  const ask = async (name: string): Promise<string> => {
    const answer = await device.trust.trustSigner({ publicKey: publicKeyDer(key), publisher: name }, { signal, timeoutMs: CALL_TIMEOUT_MS });
    return answer.signer?.publisher ?? name;
  };
  const code = async (error: unknown): Promise<string> => (await device.explain(error, "trust a key")).code;
  try {
    return await ask(publisher);
  } catch (error) {
    switch (await code(error)) {
      case "PUBLISHER_TAKEN":
        return await ask(`${publisher.slice(0, 54)}-${key.keyId.slice("sha256:".length, "sha256:".length + 8)}`);
      case "SIGNER_EXISTS":
        return await publisherOf(device, key, signal);
      default:
        throw error;
    }
  }
}

async function publisherOf(device: Device, key: AuthorKey, signal: AbortSignal): Promise<string> {
  const { signers } = await device.trust.listSigners({}, { signal, timeoutMs: CALL_TIMEOUT_MS });
  const found = signers.find(({ keyId }) => keyId === key.keyId);
  if (found === undefined) throw new UserError("ARC3009", "trust a key: the device says that it knows the key, and does not list it");
  return found.publisher;
}
