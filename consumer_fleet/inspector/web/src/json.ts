import { LosslessNumber, parse, stringify } from 'lossless-json';

export interface JsonObject {
  [key: string]: JsonValue;
}

/** A LosslessNumber keeps the text of what a JavaScript number can't reproduce: `1.0`, `1e400`. */
export type JsonValue =
  null | boolean | number | bigint | LosslessNumber | string | JsonValue[] | JsonObject;

export class JsonSyntaxError extends Error {
  override name = 'JsonSyntaxError';
}

/** Deeper nesting is refused: each level costs a stack frame here and an element on the page. */
export const MAX_DEPTH = 500;

const INTEGER = /^-?\d+$/;
// Parsing a BigInt takes quadratic time: a longer number is displayed, never calculated with.
const MAX_BIGINT_DIGITS = 400;

/** JSON.parse that keeps every number exact: 64-bit ids become a bigint, `1.0` stays `1.0`.
 *
 * A member named `__proto__` is an ordinary one, and the last of several members of one name counts.
 */
export function parseJson(text: string): JsonValue {
  if (isTooDeep(text))
    throw new JsonSyntaxError(`Not shown: nested deeper than ${MAX_DEPTH} levels`);
  try {
    return parse(text, null, {
      parseNumber: exactNumber,
      onDuplicateKey: ({ newValue }) => newValue,
    }) as JsonValue;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new JsonSyntaxError(`Not valid JSON: ${error.message}`, { cause: error });
  }
}

/** JSON.stringify with two spaces, for values whose numbers must stay exact. */
export function printJson(value: JsonValue): string {
  return stringify(value, null, 2) ?? '';
}

function exactNumber(source: string): JsonValue {
  const number = Number(source);
  if (String(number) === source) return number;
  const isShortInteger = INTEGER.test(source) && source.length <= MAX_BIGINT_DIGITS;
  return isShortInteger && source !== '-0' ? BigInt(source) : new LosslessNumber(source);
}

// Checked before parsing, because the parser would overflow the stack.
function isTooDeep(text: string): boolean {
  let depth = 0;
  let isInString = false;
  for (let index = 0; index < text.length; index += 1) {
    const character = text[index];
    if (isInString && character === '\\') index += 1;
    else if (character === '"') isInString = !isInString;
    else if (isInString) continue;
    else if (character === '[' || character === '{') depth += 1;
    else if (character === ']' || character === '}') depth -= 1;
    if (depth > MAX_DEPTH) return true;
  }
  return false;
}

export function isObject(value: JsonValue | undefined): value is JsonObject {
  return (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    !(value instanceof LosslessNumber)
  );
}

export function isNumeric(value: JsonValue | undefined): value is number | bigint | LosslessNumber {
  return typeof value === 'number' || typeof value === 'bigint' || value instanceof LosslessNumber;
}

export function member(value: JsonValue | undefined, key: string): JsonValue | undefined {
  return isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
}

export function asObject(value: JsonValue | undefined): JsonObject {
  return isObject(value) ? value : {};
}

export function asArray(value: JsonValue | undefined): JsonValue[] {
  return Array.isArray(value) ? value : [];
}

export function asNumber(value: JsonValue | undefined): number | null {
  if (!isNumeric(value)) return null;
  const number = typeof value === 'number' ? value : Number(value.toString());
  return Number.isFinite(number) ? number : null;
}

/** Text of a scalar; null for structures, so that a caller must decide how to show those. */
export function asText(value: JsonValue | undefined): string | null {
  if (typeof value === 'string') return value;
  if (isNumeric(value) || typeof value === 'boolean') return String(value);
  return null;
}

export function asBoolean(value: JsonValue | undefined): boolean | null {
  return typeof value === 'boolean' ? value : null;
}
