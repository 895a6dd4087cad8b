import { ExactNumber, type JsonObject, type JsonValue } from './value.ts';

export class JsonSyntaxError extends Error {
  override name = 'JsonSyntaxError';
}

/** Deeper nesting is refused: each level costs a stack frame here and an element on the page. */
export const MAX_DEPTH = 500;

// Decoding a decimal takes quadratic time: a number that long is shown, never calculated with.
const MAX_BIGINT_DIGITS = 400;
const NUMBER = /-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?/y;
const NEEDS_DECODING = /[\\\u0000-\u001f]/;
const WHITE_SPACE = /[ \t\n\r]*/y;
const LITERALS: [string, JsonValue][] = [
  ['true', true],
  ['false', false],
  ['null', null],
];

/** JSON.parse that keeps every number exact: 64-bit ids become a bigint, `1.0` stays `1.0`.
 *
 * Objects have no prototype, so that a member named `__proto__` is an ordinary one.
 */
export function parseJson(text: string): JsonValue {
  return new Parser(text).document();
}

function exactNumber(source: string, isInteger: boolean): JsonValue {
  const number = Number(source);
  if (String(number) === source) return number;
  if (isInteger && source !== '-0' && source.length <= MAX_BIGINT_DIGITS) return BigInt(source);
  return new ExactNumber(source);
}

class Parser {
  readonly #text: string;
  #position = 0;
  #depth = 0;

  constructor(text: string) {
    this.#text = text;
  }

  document(): JsonValue {
    const value = this.#value();
    if (this.#position < this.#text.length) throw this.#error('unexpected text after the value');
    return value;
  }

  #value(): JsonValue {
    this.#skipWhiteSpace();
    const value = this.#bareValue();
    this.#skipWhiteSpace();
    return value;
  }

  #bareValue(): JsonValue {
    const character = this.#text[this.#position];
    if (character === '{') return this.#nested(() => this.#object());
    if (character === '[') return this.#nested(() => this.#array());
    if (character === '"') return this.#string();
    for (const [word, value] of LITERALS) {
      if (this.#text.startsWith(word, this.#position)) {
        this.#position += word.length;
        return value;
      }
    }
    return this.#number();
  }

  #nested<T>(parse: () => T): T {
    this.#depth += 1;
    if (this.#depth > MAX_DEPTH) throw this.#error(`nested deeper than ${MAX_DEPTH} levels`);
    this.#position += 1;
    const value = parse();
    this.#depth -= 1;
    return value;
  }

  #object(): JsonObject {
    const object = Object.create(null) as JsonObject;
    this.#skipWhiteSpace();
    if (this.#take('}')) return object;
    do {
      this.#skipWhiteSpace();
      const key = this.#string();
      this.#skipWhiteSpace();
      this.#expect(':');
      object[key] = this.#value();
    } while (this.#take(','));
    this.#expect('}');
    return object;
  }

  #array(): JsonValue[] {
    const array: JsonValue[] = [];
    this.#skipWhiteSpace();
    if (this.#take(']')) return array;
    do {
      array.push(this.#value());
    } while (this.#take(','));
    this.#expect(']');
    return array;
  }

  #string(): string {
    this.#expect('"');
    const start = this.#position;
    let end = this.#text.indexOf('"', start);
    while (end > 0 && this.#isEscaped(end)) end = this.#text.indexOf('"', end + 1);
    if (end < 0) throw this.#error('a string without an end');
    this.#position = end + 1;
    const body = this.#text.slice(start, end);
    if (!NEEDS_DECODING.test(body)) return body;
    try {
      return JSON.parse(`"${body}"`) as string;
    } catch {
      throw this.#error('a string with a bad escape or a control character');
    }
  }

  #isEscaped(position: number): boolean {
    let first = position;
    while (this.#text[first - 1] === '\\') first -= 1;
    return (position - first) % 2 === 1;
  }

  #number(): JsonValue {
    const match = this.#match(NUMBER, 'a value');
    return exactNumber(match[0], match[1] === undefined && match[2] === undefined);
  }

  #match(pattern: RegExp, what: string): RegExpExecArray {
    pattern.lastIndex = this.#position;
    const match = pattern.exec(this.#text);
    if (match === null) throw this.#error(`expected ${what}`);
    this.#position = pattern.lastIndex;
    return match;
  }

  #skipWhiteSpace(): void {
    WHITE_SPACE.lastIndex = this.#position;
    WHITE_SPACE.test(this.#text);
    this.#position = WHITE_SPACE.lastIndex;
  }

  #take(character: string): boolean {
    if (this.#text[this.#position] !== character) return false;
    this.#position += 1;
    return true;
  }

  #expect(character: string): void {
    if (!this.#take(character)) throw this.#error(`expected '${character}'`);
  }

  #error(problem: string): JsonSyntaxError {
    return new JsonSyntaxError(`Not JSON at character ${this.#position}: ${problem}`);
  }
}
