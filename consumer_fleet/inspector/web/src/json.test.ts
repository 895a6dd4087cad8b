import { LosslessNumber } from 'lossless-json';
import { expect, test } from 'vitest';

import { JsonSyntaxError, MAX_DEPTH, member, parseJson, printJson } from './json';

test('64-bit integers stay exact', () => {
  expect(parseJson('18446744073709551615')).toBe(18446744073709551615n);
  expect(parseJson('-9223372036854775808')).toBe(-9223372036854775808n);
  expect(parseJson('9007199254740993')).toBe(9007199254740993n);
  expect(parseJson('12')).toBe(12);
});

test('a number that JavaScript would rewrite keeps its text', () => {
  for (const source of ['1.0', '1e400', '-0', '0.10000000000000000001']) {
    expect(parseJson(source)).toEqual(new LosslessNumber(source));
  }
  expect(parseJson('0.1')).toBe(0.1);
});

test('exact and inexact numbers, and texts that look like them, are kept apart', () => {
  const text =
    '{"a":[1.0,2,-0.50,1e2],"1.0":"1.0","b":"[3.0, \\"4.0\\"]","c":12345678901234567890}';
  expect(printJson(parseJson(text)).replaceAll(/\s/g, '')).toBe(text.replaceAll(/\s/g, ''));
});

test('a million digits are kept without being parsed as a number', () => {
  const digits = '9'.repeat(1_000_000);
  expect(parseJson(digits)).toEqual(new LosslessNumber(digits));
});

test('structures and strings parse as JSON.parse does', () => {
  const text =
    '{"a": [1, {"b": null}], "c": "\\u00e9\\n\\"q\\" \\\\", "d": [], "e": {}, "f": true}';
  expect(JSON.stringify(parseJson(text))).toBe(JSON.stringify(JSON.parse(text)));
});

test('a member named __proto__ is an ordinary member', () => {
  const parsed = parseJson('{"__proto__": {"polluted": true}}');
  expect(member(parsed, '__proto__')).toBeDefined();
  expect(({} as Record<string, unknown>).polluted).toBeUndefined();
});

test('the last member of a name counts', () => {
  expect(parseJson('{"a": 1, "b": 2, "a": [3]}')).toEqual({ a: [3], b: 2 });
});

test('brackets inside strings are not nesting', () => {
  const text = '[{\\"'.repeat(MAX_DEPTH);
  expect(parseJson(`["${text}"]`)).toEqual(['[{"'.repeat(MAX_DEPTH)]);
});

test.each([
  '',
  '{',
  '[1,]',
  '{"a" 1}',
  '"open',
  '"bad \\x"',
  '01',
  '[1.0, 01]',
  '[1.0.0]',
  '--1.0',
  '1.0"',
  '1 2',
  'nul',
  "{'a': 1}",
  '"\n"',
])('%j is refused', (text) => {
  expect(() => parseJson(text)).toThrow(JsonSyntaxError);
});

test('nesting too deep to show is refused instead of overflowing the stack', () => {
  const deepest = '['.repeat(MAX_DEPTH) + ']'.repeat(MAX_DEPTH);
  expect(parseJson(deepest)).toBeInstanceOf(Array);
  expect(() => parseJson('['.repeat(1_000_000))).toThrow(/nested deeper than/);
});

test('printing keeps every number as it came', () => {
  const text =
    '{\n  "id": 18446744073709551615,\n  "ratio": 1.0,\n  "list": [\n    "a",\n    {}\n  ]\n}';
  expect(printJson(parseJson(text))).toBe(text);
});
