import { expect, test } from 'vitest';

import { NO_FILTERS } from '../api/types';
import { formatRoute, isEntryId, parseRoute } from './route';

test.each([
  { target: null, filters: NO_FILTERS },
  { target: '17', filters: NO_FILTERS },
  { target: '17', filters: { q: 'a&b=c #ü', type: 'error', level: 'fatal', isDeadOnly: true } },
  { target: 'f'.repeat(32), filters: { ...NO_FILTERS, q: 'x' } },
])('a formatted route parses to the same route: %j', (route) => {
  expect(parseRoute(formatRoute(route))).toEqual(route);
});

test.each(['', '#', '#/events', '#/events/', '#/events/../x', '#/events/1/2', '#/other/1'])(
  'the address %j names no event',
  (hash) => {
    expect(parseRoute(hash).target).toBeNull();
  },
);

test('event ids and entry ids are distinguished', () => {
  expect(isEntryId('17')).toBe(true);
  expect(isEntryId('1'.repeat(32))).toBe(false);
});
