/** A number whose text a JavaScript number cannot reproduce, such as `1.0` or `1e400`. */
export class ExactNumber {
  readonly source: string;

  constructor(source: string) {
    this.source = source;
  }

  // Whoever writes the value as text gets what was sent.
  toString(): string {
    return this.source;
  }
}

export interface JsonObject {
  [key: string]: JsonValue;
}

export type JsonValue =
  null | boolean | number | bigint | ExactNumber | string | JsonValue[] | JsonObject;

export function isObject(value: JsonValue | undefined): value is JsonObject {
  return (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    !(value instanceof ExactNumber)
  );
}

export function isNumeric(value: JsonValue | undefined): value is number | bigint | ExactNumber {
  return typeof value === 'number' || typeof value === 'bigint' || value instanceof ExactNumber;
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
