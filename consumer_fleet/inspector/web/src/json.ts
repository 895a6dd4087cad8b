import { LosslessNumber, stringify } from 'lossless-json';

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
const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;
// Parsing a BigInt takes quadratic time: a longer number is displayed, never calculated with.
const MAX_BIGINT_DIGITS = 400;

/** JSON.parse that keeps every number exact: 64-bit ids become a bigint, `1.0` stays `1.0`.
 *
 * A member named `__proto__` is an ordinary one, and the last of several members of one name counts.
 */
export function parseJson(text: string): JsonValue {
  const inexact = inexactNumbers(text);
  try {
    return inexact.length === 0 ? (JSON.parse(text) as JsonValue) : parseExactly(text, inexact);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new JsonSyntaxError(`Not valid JSON: ${error.message}`, { cause: error });
  }
}

type Range = [start: number, end: number];

/** The numbers that JSON.parse would change. Throws JsonSyntaxError for too deep a nesting. */
function inexactNumbers(text: string): Range[] {
  const found: Range[] = [];
  let depth = 0;
  for (let index = 0; index < text.length; index += 1) {
    const character = text.charAt(index);
    if (character === '"') index = endOfString(text, index);
    else if (character === '[' || character === '{') depth += 1;
    else if (character === ']' || character === '}') depth -= 1;
    else if (character === '-' || isDigit(character)) {
      const end = endOfNumber(text, index);
      const source = text.slice(index, end);
      if (String(Number(source)) !== source && NUMBER.test(source)) found.push([index, end]);
      index = end - 1;
    }
    // Checked before parsing, because drawing it would overflow the stack.
    if (depth > MAX_DEPTH)
      throw new JsonSyntaxError(`Not shown: nested deeper than ${MAX_DEPTH} levels`);
  }
  return found;
}

/** The index of the closing quote; of the text's end, if there is none. */
function endOfString(text: string, start: number): number {
  for (;;) {
    const end = text.indexOf('"', start + 1);
    if (end < 0) return text.length;
    let escapes = end;
    while (text.charAt(escapes - 1) === '\\') escapes -= 1;
    if ((end - escapes) % 2 === 0) return end;
    start = end;
  }
}

function endOfNumber(text: string, start: number): number {
  let end = start + 1;
  while (isDigit(text.charAt(end)) || '.eE+-'.includes(text.charAt(end) || ' ')) end += 1;
  return end;
}

function isDigit(character: string): boolean {
  return character >= '0' && character <= '9';
}

/** Parse with strings in place of these numbers. No event can know how those strings begin. */
function parseExactly(text: string, inexact: Range[]): JsonValue {
  const mark = `${Math.random()}${Math.random()}:`;
  const parts: string[] = [];
  let done = 0;
  for (const [start, end] of inexact) {
    parts.push(text.slice(done, start), `"${mark}${text.slice(start, end)}"`);
    done = end;
  }
  const marked = [...parts, text.slice(done)].join('');
  return JSON.parse(marked, (_, value: JsonValue) =>
    typeof value === 'string' && value.startsWith(mark)
      ? exactNumber(value.slice(mark.length))
      : value,
  ) as JsonValue;
}

function exactNumber(source: string): bigint | LosslessNumber {
  const isShortInteger = INTEGER.test(source) && source.length <= MAX_BIGINT_DIGITS;
  return isShortInteger && source !== '-0' ? BigInt(source) : new LosslessNumber(source);
}

/** JSON.stringify with two spaces, for values whose numbers must stay exact. */
export function printJson(value: JsonValue): string {
  return stringify(value, null, 2) ?? '';
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
