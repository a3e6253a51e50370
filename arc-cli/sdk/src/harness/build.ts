//! Bundles the harness into the one file that the tool root carries: `bun harness/build.ts OUT`.

const [out] = process.argv.slice(2);
if (out === undefined) throw new Error("usage: bun build.ts OUT");

const build = await Bun.build({
  entrypoints: [`${import.meta.dir}/main.ts`],
  target: "bun",
  format: "esm",
  minify: { whitespace: true, syntax: true, identifiers: false },
});
const [file] = build.outputs;
if (!file) throw new Error("the harness has no output");
// The bundler keeps comments that begin with `!`; the cage reads this file at every start.
const code = (await file.text()).replace(/^\/\/!.*\n/gm, "");
await Bun.write(out, code);
