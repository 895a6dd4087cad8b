import { expect, test } from 'vitest';

import { readLogs } from './logs';

test('a log has time, level, message and attributes without their types', () => {
  const item = {
    timestamp: 1.5,
    level: 'info',
    body: 'low stock of tea',
    trace_id: 'a',
    attributes: { 'sentry.severity_number': { value: 9, type: 'integer' }, plain: 'x' },
  };
  expect(readLogs({ items: [item] })).toEqual([
    {
      timestamp: 1.5,
      level: 'info',
      message: 'low stock of tea',
      attributes: { 'sentry.severity_number': 9, plain: 'x', trace_id: 'a' },
    },
  ]);
});

test.each([
  ['low stock of {item} in {shop}', 'low stock of tea in {shop}'],
  ['%s of %d at %s', 'a of 2 at %s'],
  ['{} of {}', 'a of 2'],
  ['{1} of {0}', '2 of a'],
])('without a body, the template %s is filled: %s', (template, message) => {
  const attributes = {
    'sentry.message.template': { value: template },
    'sentry.message.parameter.item': { value: 'tea' },
    'sentry.message.parameter.0': { value: 'a' },
    'sentry.message.parameter.1': { value: 2 },
  };
  expect(readLogs({ items: [{ attributes }] })?.[0]?.message).toBe(message);
});

test.each([null, 1, 'x', [], {}, { items: 'x' }])('%j is not a list of logs', (payload) => {
  expect(readLogs(payload)).toBeNull();
});

test('members of a wrong type count as absent', () => {
  const items = [null, 1, { level: {}, body: [], attributes: 'x' }];
  const empty = { timestamp: undefined, level: null, message: '', attributes: {} };
  expect(readLogs({ items })).toEqual([empty]);
});
