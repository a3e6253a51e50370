//! Files that are imported for their path: `import path from "./model.wasm"` gives the place of the file at run time.

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
