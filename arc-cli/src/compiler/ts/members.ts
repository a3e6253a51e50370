//! The members of a union type: without `undefined`, and in the order they are written.

import ts from "typescript";

/** The parts of a type without `undefined`, as few as possible so that names survive. */
export function withoutUndefined(checker: ts.TypeChecker, type: ts.Type): { kept: readonly ts.Type[]; stripped: boolean } {
  const isUndefined = (member: ts.Type): boolean => (member.flags & (ts.TypeFlags.Undefined | ts.TypeFlags.Void)) !== 0;
  if (isUndefined(type)) return { kept: [], stripped: true };
  if (!type.isUnion() || !type.types.some(isUndefined)) return { kept: [type], stripped: false };
  // `T | undefined` remembers `T` as it was named; the field is not public but pinned with the compiler's version.
  const { origin } = type as ts.UnionType & { readonly origin?: ts.Type };
  if (origin?.isUnion()) return { kept: origin.types.filter((member) => !isUndefined(member)), stripped: true };
  const kept = type.types.filter((member) => !isUndefined(member));
  if (kept.some((member) => (member.flags & ts.TypeFlags.Null) !== 0)) return { kept, stripped: true };
  return { kept: [checker.getNonNullableType(type)], stripped: true };
}

/**
 * The members of a union in the order they are written, or by their text where they are written nowhere. The checker's own
 * order follows the history of its types, so an unrelated file could reorder an enum and with it the interface digest.
 */
export function inSourceOrder(checker: ts.TypeChecker, type: ts.UnionType, node: ts.Node): readonly ts.Type[] {
  const written: ts.Type[] = [];
  const visit = (child: ts.Node): void => {
    if (written.length > 0 || ts.isBlock(child)) return;
    if (ts.isUnionTypeNode(child) && checker.getTypeFromTypeNode(child) === type) {
      written.push(...child.types.map((part) => checker.getTypeFromTypeNode(part)).flatMap((part) => (part.isUnion() ? part.types : [part])));
      return;
    }
    ts.forEachChild(child, visit);
  };
  for (const place of [...(type.aliasSymbol?.declarations ?? []), node]) visit(place);
  if (written.length === 0) return byText(checker, type.types);
  const rank = (member: ts.Type): number => {
    const at = written.indexOf(member);
    return at === -1 ? written.length : at;
  };
  return [...type.types].sort((a, b) => rank(a) - rank(b));
}

/** Members of an enum as they are declared, the rest by their text. */
function byText(checker: ts.TypeChecker, members: readonly ts.Type[]): readonly ts.Type[] {
  const keyed = members.map((member) => {
    const declaration = member.symbol?.valueDeclaration;
    const text = checker.typeToString(member);
    return { member, key: declaration && ts.isEnumMember(declaration) ? `${text.split(".")[0]} ${String(declaration.pos).padStart(9, "0")}` : text };
  });
  return keyed.sort((a, b) => (a.key < b.key ? -1 : 1)).map(({ member }) => member);
}
