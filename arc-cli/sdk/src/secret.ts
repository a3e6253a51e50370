//! Secrets of the device, by name. The value never comes here.

/**
 * What to give a library that insists on a key, for example `new Client({ apiKey: secret("stripe") })`.
 *
 * It only stands for the secret: the device itself sets the secret's header on every https request to the secret's hosts, whatever
 * this process put there, if the call holds `secret:<name>` and the host's `net` token. Elsewhere the text goes out as it is.
 */
export function secret(name: string): string {
  return `aria-secret-${name}`;
}
