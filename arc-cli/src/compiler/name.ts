//! Names as callers see them.

/** `countOpen` → `count-open`, `parseHTML2Text` → `parse-html2-text`. */
export function kebabCase(name: string): string {
  return name
    .replace(/([a-z0-9])([A-Z])/g, "$1-$2")
    .replace(/([A-Z]+)([A-Z][a-z])/g, "$1-$2")
    .replace(/[_$\s]+/g, "-")
    .toLowerCase()
    .replace(/^-+|-+$/g, "");
}

