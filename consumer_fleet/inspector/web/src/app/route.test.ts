import { expect, test } from 'vitest';

import { NO_FILTERS } from '../api/types';
import { formatRoute, parseRoute } from './route';

const EVENT_ID = 'f'.repeat(32);
const ENTRY = { store: '8a0c', id: 17 };
const FILTERS = {
  ...NO_FILTERS,
  q: 'a&b=c #ü',
  type: 'error',
  level: 'fatal',
  topic: 'a/b',
  issue: 'c0ffee',
  isDeadOnly: true,
  isGrouped: true,
};

test.each([
  ['#/events', null],
  [`#/event/${EVENT_ID}`, { eventId: EVENT_ID, entry: null }],
  [`#/event/${EVENT_ID}/8a0c-17`, { eventId: EVENT_ID, entry: ENTRY }],
  ['#/entry/8a0c-17', { eventId: null, entry: ENTRY }],
  ['#/events/17', { eventId: null, entry: { store: null, id: 17 } }],
])('the address %s is parsed and formatted', (hash, target) => {
  expect(parseRoute(hash)).toEqual({ target, filters: NO_FILTERS });
  expect(formatRoute({ target, filters: NO_FILTERS })).toBe(hash);
  expect(parseRoute(formatRoute({ target, filters: FILTERS }))).toEqual({
    target,
    filters: FILTERS,
  });
});

test('a trace has an address, with filters', () => {
  const route = { target: null, traceId: EVENT_ID, filters: FILTERS };
  expect(parseRoute(formatRoute(route))).toEqual(route);
});

test('an event id is also read where links had it before', () => {
  expect(parseRoute(`#/events/${EVENT_ID}`).target).toEqual({ eventId: EVENT_ID, entry: null });
});

test('an entry whose event id is not valid is named by its number and store', () => {
  const target = { eventId: '../x', entry: ENTRY };
  expect(formatRoute({ target, filters: NO_FILTERS })).toBe('#/entry/8a0c-17');
});

test.each(['', '#', '#/events/', '#/events/../x', '#/events/1/2', '#/other/1', '#/entry/17'])(
  'the address %j names no event',
  (hash) => {
    expect(parseRoute(hash).target).toBeNull();
  },
);
