//! Where a redirect leads and what of the request goes along, as the Fetch standard has it. Whether the place may be reached is
//! asked anew of the device, for each hop.

/** Hops of one `fetch`. */
export const REDIRECTS_MAX = 10;

const STATUSES = new Set([301, 302, 303, 307, 308]);
/** Never shown to another origin than the one they were meant for. */
const OF_ONE_ORIGIN = new Set(["authorization", "cookie", "cookie2", "proxy-authorization", "host"]);
const OF_THE_BODY = new Set(["content-encoding", "content-language", "content-length", "content-location", "content-type", "transfer-encoding"]);

/** A request as far as redirects change it. */
export interface Hop {
  readonly url: URL;
  readonly method: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly hasBody: boolean;
}

/** Whether an answer with this status and a `Location` leads elsewhere. */
export function isRedirect(status: number): boolean {
  return STATUSES.has(status);
}

/** The next request. Throws a `TypeError` for a place no request can go to. */
export function nextHop(hop: Hop, status: number, location: string): Hop {
  let url: URL;
  try {
    url = new URL(location, hop.url);
  } catch {
    throw new TypeError(`the redirect of ${hop.url.origin} leads to no URL`);
  }
  if (url.protocol !== "https:" && url.protocol !== "http:") throw new TypeError(`the redirect of ${hop.url.origin} leads to ${url.protocol}`);
  if (url.username !== "" || url.password !== "") throw new TypeError(`the redirect of ${hop.url.origin} leads to a URL with credentials`);
  if (url.hash === "") url.hash = hop.url.hash;
  const becomesGet = ((status === 301 || status === 302) && hop.method === "POST") || (status === 303 && hop.method !== "GET" && hop.method !== "HEAD");
  const sameOrigin = url.origin === hop.url.origin;
  const headers = hop.headers.filter(([name]) => {
    const lower = name.toLowerCase();
    return (sameOrigin || !OF_ONE_ORIGIN.has(lower)) && !(becomesGet && OF_THE_BODY.has(lower));
  });
  return { url, method: becomesGet ? "GET" : hop.method, headers, hasBody: hop.hasBody && !becomesGet };
}
