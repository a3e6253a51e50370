//! The limits of docs/formats.md, once.

const MIB = 1024 * 1024;

export const limits = {
  fileBytes: 256 * MIB,
  entries: 10_000,
  entryBytes: 128 * MIB,
  unpackedBytes: 512 * MIB,
  ratio: 100,
  ratioFreeBytes: MIB,
  jsonBytes: MIB,
  jsonDepth: 64,
  segmentBytes: 255,
  pathBytes: 1024,
  pathSegments: 32,
  zstdWindowBytes: 8 * MIB,
} as const;
