//! Files that are imported for their path: `import path from "./model.wasm"` gives the place of the file at run time; or for their
//! text: `import text from "./query.sql" with { type: "text" }`.

declare module "*.wasm" {
  const path: string;
  export default path;
}
declare module "*.bin" {
  const path: string;
  export default path;
}
declare module "*.dat" {
  const path: string;
  export default path;
}
declare module "*.csv" {
  const path: string;
  export default path;
}
declare module "*.sqlite" {
  const path: string;
  export default path;
}
declare module "*.png" {
  const path: string;
  export default path;
}
declare module "*.jpg" {
  const path: string;
  export default path;
}
declare module "*.md" {
  const text: string;
  export default text;
}
declare module "*.sql" {
  const text: string;
  export default text;
}
declare module "*.graphql" {
  const text: string;
  export default text;
}
declare module "*.gql" {
  const text: string;
  export default text;
}
declare module "*.xml" {
  const text: string;
  export default text;
}
declare module "*.tsv" {
  const text: string;
  export default text;
}
declare module "*.ini" {
  const text: string;
  export default text;
}
declare module "*.hbs" {
  const text: string;
  export default text;
}
declare module "*.mustache" {
  const text: string;
  export default text;
}
declare module "*.tmpl" {
  const text: string;
  export default text;
}
declare module "*.prompt" {
  const text: string;
  export default text;
}
