import { ExactNumber, type JsonValue } from './value.ts';

/** JSON.stringify with two spaces, for values whose numbers must stay exact. */
export function printJson(value: JsonValue, indent = ''): string {
  if (value === null || typeof value !== 'object') {
    return typeof value === 'string' ? JSON.stringify(value) : String(value);
  }
  if (value instanceof ExactNumber) return value.source;
  const inner = `${indent}  `;
  if (Array.isArray(value)) {
    return wrap(
      value.map((item) => printJson(item, inner)),
      '[]',
      indent,
    );
  }
  const members = Object.entries(value).map(
    ([key, item]) => `${JSON.stringify(key)}: ${printJson(item, inner)}`,
  );
  return wrap(members, '{}', indent);
}

function wrap(parts: string[], brackets: '[]' | '{}', indent: string): string {
  if (parts.length === 0) return brackets;
  const body = parts.map((part) => `${indent}  ${part}`).join(',\n');
  return `${brackets.charAt(0)}\n${body}\n${indent}${brackets.charAt(1)}`;
}
