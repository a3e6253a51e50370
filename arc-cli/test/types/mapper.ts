//! The part of the compiler that makes schemas of types, as one entry for the bundler: mutants are bundled from here.

export { compileWith } from "../../src/compiler/compile.ts";
export { findIn } from "../../src/compiler/ts/oracle.ts";
