import { expect, test, vi } from 'vitest';

import {
  formatAgo,
  formatBriefly,
  formatBytes,
  formatDuration,
  formatMoment,
  formatTime,
} from './format';

const noonS = new Date(2026, 1, 11, 12, 3, 4, 56).getTime() / 1000;

test('times are local and exact to the millisecond', () => {
  expect(formatTime(noonS)).toBe('12:03:04.056');
  expect(formatMoment(noonS)).toMatch(/^2026-02-11 12:03:04\.056 (?:UTC|[+-]\d\d:\d\d)$/);
  expect(formatMoment(Infinity)).toBe('Infinity');
});

test('a moment has its zone, and an age in the largest unit', () => {
  const zone = vi.spyOn(Date.prototype, 'getTimezoneOffset').mockReturnValue(-330);
  expect(formatMoment(noonS)).toContain(' +05:30');
  zone.mockReturnValue(210);
  expect(formatMoment(noonS)).toContain(' -03:30');
  zone.mockRestore();
  expect([0, 59, 60, 7_199, 200_000, -61, NaN].map((age) => formatAgo(1_000 - age, 1_000))).toEqual(
    ['0 s ago', '59 s ago', '1 min ago', '1 h ago', '2 d ago', 'in 1 min', ''],
  );
});

test('a list shows only the time for today, and the date for other days', () => {
  expect(formatBriefly(noonS, new Date(2026, 1, 11, 23))).toBe('12:03:04');
  expect(formatBriefly(noonS, new Date(2026, 1, 12, 0))).toBe('02-11 12:03');
});

test.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1024, '1.0 KiB'],
  [20_480, '20 KiB'],
  [5 * 1024 ** 3, '5.0 GiB'],
])('%i bytes are %s', (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});

test('durations have a suitable unit', () => {
  expect([0.0012, 0.25, 12.3456].map(formatDuration)).toEqual(['1.20 ms', '250 ms', '12.35 s']);
});
