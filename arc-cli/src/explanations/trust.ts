//! Explanations of who vouches for a bundle, and of what it may touch.

import type { Explanation } from "../explanations.ts";

const rows: readonly (readonly [code: string, title: string, text: string, ...fix: string[]])[] = [
  ["SIGNATURE_MISSING", "not signed", "Devices take only bundles that a key they trust signed. `arc build` signs with the key called default when there is one. For a call: the bundle came to the device before it asked for signatures; upload it signed.", "arc key new", "arc sign FILE", "arc key trust"],
  ["SIGNATURE_BAD", "signature does not hold", "A signature names a key the device knows, and is not that key's signature of this bundle. The file was changed after it was signed.", "arc inspect FILE", "arc build"],
  ["SIGNER_UNKNOWN", "signed by an unknown key", "The bundle is signed, and by no key this device trusts. An operator decides whether it should.", "arc key list --device", "arc key trust"],
  ["SIGNER_REVOKED", "signed by a revoked key", "The key was revoked on this device, for good. Bundles it vouched for are not called any more, their running calls were cancelled, and new ones of it are refused. Sign with another key of the same publisher and upload again; the version may stay.", "arc key list --device", "arc key trust NAME --as PUBLISHER --joins", "arc sign FILE --key NAME"],
  ["SIGNER_EXPIRED", "signed by a key whose time is over", "The device was told to trust the key until a time that is over. What it installed before stays callable; new bundles need a longer trust or another key.", "arc key list --device"],
  ["PUBLISHER_MISMATCH", "the name is another publisher's", "A bundle's name belongs to the publisher of the first bundle that had it on this device, also after that was removed. Another publisher needs another name. When the publisher only has a new key, let the device trust it with --joins.", "arc key list --device"],
  ["BUNDLE_ROLLBACK", "older than what was there", "The device has had a higher version of this bundle, and an older one could bring back what was fixed. To go back on purpose, build the older sources under a higher version."],
  ["AUTHORITY_WIDENED", "asks for more than before", "The new version may touch more than the installed one: tokens, hosts, secrets, child processes, or calls without approval. It waits until somebody accepts exactly this authority; the installed version goes on. Acceptance holds for this publisher, name, interface and authority.", "arc upload FILE --dry-run", "arc upload FILE --accept-authority sha256:…"],
  ["PUBLISHER_TAKEN", "publisher has a key", "Another key speaks for this publisher, and whoever speaks for it owns its bundles' names. Say --joins when this is one more key of the same publisher, as in a rotation; else choose another name with --as.", "arc key list --device"],
  ["SIGNER_EXISTS", "key of another publisher", "The device trusts this key already, for another publisher. A key speaks for one.", "arc key list --device"],
  ["SIGNERS_FULL", "too many keys", "The device knows 1,000 keys, revoked ones counted, which is as many as it may."],
  ["KEY_INVALID", "not a key", "The key is no Ed25519 public key (RFC 8410).", "arc key show"],
  ["KEY_UNKNOWN", "no such key", "The device was never told to trust a key of this id.", "arc key list --device"],
  ["PUBLISHER_SYNTAX", "malformed publisher", "A publisher is 1 to 63 letters, digits, `.`, `_`, `-`, `@`, beginning with a letter or digit. Name it with --as."],
  ["EXPIRES_PAST", "end in the past", "A key is trusted until a time in the future, by the device's clock."],
  ["NAMES_FULL", "too many names", "The device remembers 10,000 names of bundles, also of removed ones, which is as many as it may."],
  ["CREDENTIALS_FULL", "too many keys of one identity", "An identity has at most 8 live keys. Revoke one that is not used any more.", "arc device credentials", "arc device revoke KEY"],
  ["CREDENTIAL_EXISTS", "key is known", "The key is enrolled on the device, or was revoked there; neither is invited. A revoked identity comes back with a new key.", "arc device credentials"],
  ["INVITATIONS_FULL", "too many invitations", "A device waits for at most 16 keys at a time. Invitations end by themselves."],
  ["WINDOW_INVALID", "window too long", "A device waits for an invited key for at most 24 hours."],
  ["ARC2076", "two keys", "Give the name of a key here, or --file with a public key."],
];

export const trust: readonly Explanation[] = rows.map(([code, title, text, ...fix]) => ({ code, title, text, fix }));
