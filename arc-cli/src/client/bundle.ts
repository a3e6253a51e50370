//! Installed bundles as scripts see them.

import type { Bundle } from "../gen/aria/v1/bundles_pb.ts";

export function bundleJson(bundle: Bundle): Record<string, unknown> {
  const { name, version, digest, interfaceDigest, authorityDigest, sizeBytes, installedAt, tools, description } = bundle;
  return { name, version, digest, interfaceDigest, authorityDigest, sizeBytes, installedAt, tools, description };
}
