//! What to write instead of a type that arc refuses: source text that can be pasted in its place.

import ts from "typescript";

/** Where any JSON is really meant. */
export const JSON_VALUE = "write the type, or `JsonValue` from @aria/sdk where any JSON is meant";
export const JSON_OBJECT = "write its members, or `JsonObject` from @aria/sdk where any object is meant";

/** For a type of the language or the runtime. */
export function foreignHint(checker: ts.TypeChecker, name: string, type: ts.Type): string {
  const [first = "string", second = "string"] = checker.getTypeArguments(type as ts.TypeReference).map((argument) => checker.typeToString(argument));
  const list = /[|&?]|=>/.test(first) ? `(${first})[]` : `${first}[]`;
  if (name === "WeakMap") return `write \`Record<string, ${second}>\``;
  if (name === "Map" || name === "ReadonlyMap") return `write \`${/^(string|number)$|^"/.test(first) ? `Record<${first}, ${second}>` : `[${first}, ${second}][]`}\``;
  if (/^(Weak|Readonly)?Set$|^(Iterable|ArrayLike|Array|ReadonlyArray|Iterator|ArrayIterator)$/.test(name)) return `write \`${list}\``;
  if (name === "Promise" || name === "PromiseLike") return `await it inside the tool and write \`${first}\``;
  if (/^(Int|Uint16|Uint32|Float)\d*Array$/.test(name)) return "write `number[]`";
  if (/Buffer|Array$|DataView|Blob|File/.test(name)) return "write `Uint8Array`; large data travels as a file";
  if (name === "Number" || name === "Boolean") return `write \`${name.toLowerCase()}\``;
  if (/Error$/.test(name)) return "write `{ name: string; message: string }`";
  if (/^(URL|RegExp|String|Symbol|BigInt)$/.test(name)) return "write `string`";
  return "write an interface of the data in it: strings, numbers, arrays";
}

/** For a type that extends one of those. What a generic one holds has no name here. */
export function heirHint(checker: ts.TypeChecker, type: ts.Type, base: ts.Type): string {
  const isGeneric = checker.getTypeArguments(type as ts.TypeReference).length > 0;
  return isGeneric ? "write an interface with what it holds as a member" : `${foreignHint(checker, base.symbol.name, base)} as a member`;
}

/** For a function: what it gives, since a caller can send that. */
export function functionHint(checker: ts.TypeChecker, type: ts.Type, node: ts.Node): string {
  const [signature] = type.getCallSignatures();
  const result = signature?.getReturnType();
  if (!result || (result.flags & (ts.TypeFlags.Void | ts.TypeFlags.Undefined | ts.TypeFlags.Any | ts.TypeFlags.Unknown)) !== 0) return "take it out: a caller sends data, not code";
  const member = ts.isMethodSignature(node) ? `${node.name.getText()}${node.questionToken ? "?" : ""}: ` : "";
  return `write what it gives: \`${member}${checker.typeToString(result)}\``;
}

/** For a class: its data alone. */
export function classHint(checker: ts.TypeChecker, type: ts.Type): string {
  const isData = (property: ts.Symbol): boolean => {
    const flags = property.valueDeclaration ? ts.getCombinedModifierFlags(property.valueDeclaration) : 0;
    const hidden = (flags & (ts.ModifierFlags.Private | ts.ModifierFlags.Protected)) !== 0 || property.name.startsWith("#");
    return (property.flags & ts.SymbolFlags.Property) !== 0 && !hidden && checker.getTypeOfSymbol(property).getCallSignatures().length === 0;
  };
  const names = checker.getPropertiesOfType(type).filter(isData).map(({ name }) => JSON.stringify(name));
  return names.length === 0 ? "write an interface with the data alone" : `write \`Pick<${type.symbol.name}, ${names.join(" | ")}>\``;
}

/** For a list that is also something else. */
export function listHint(checker: ts.TypeChecker, type: ts.IntersectionType): string {
  const isList = (member: ts.Type): boolean => checker.isArrayType(member) || checker.isTupleType(member);
  const [list] = type.types.filter(isList);
  const others = type.types.filter((member) => !isList(member)).map((member) => checker.typeToString(member));
  return `write \`{ items: ${list ? checker.typeToString(list) : "string[]"} } & ${others.join(" & ")}\``;
}

/** For a tuple with members after its rest. */
export function tupleHint(checker: ts.TypeChecker, type: ts.TupleTypeReference): string {
  const elements = checker.getTypeArguments(type).map((element) => checker.typeToString(element));
  const isVariable = (i: number): boolean => ((type.target.elementFlags[i] ?? 0) & ts.ElementFlags.Variable) !== 0;
  const fixed = elements.filter((_, i) => !isVariable(i));
  const rest = elements.filter((_, i) => isVariable(i)).map((element) => (/[|&?]|=>/.test(element) ? `...(${element})[]` : `...${element}[]`));
  return `put the rest last: \`[${[...fixed, ...rest].join(", ")}]\``;
}
