import { expect, test } from 'vitest';

import { readItemFacts, readMetrics } from './items';

test('a metric has its name, kind, value, unit and attributes', () => {
  const item = {
    timestamp: 5,
    name: 'orders',
    type: 'counter',
    value: 3,
    unit: 'order',
    trace_id: 'a',
    attributes: { shop: { value: 'Basel', type: 'string' } },
  };
  expect(readMetrics({ items: [item, 'x', {}] })).toEqual([
    {
      timestamp: 5,
      name: 'orders',
      kind: 'counter',
      value: '3',
      unit: 'order',
      attributes: { shop: 'Basel', trace_id: 'a' },
    },
    { timestamp: undefined, name: '', kind: '', value: '', unit: '', attributes: {} },
  ]);
  expect(readMetrics({})).toBeNull();
});

test.each([
  [
    'check_in',
    {
      monitor_slug: 'nightly',
      duration: 12.5,
      monitor_config: { schedule: { value: '0 * * * *' } },
    },
    [
      ['Monitor', 'nightly'],
      ['Duration', '12.5 s'],
      ['Schedule', '0 * * * *'],
    ],
  ],
  [
    'session',
    { status: 'crashed', errors: 1, attrs: { release: 'shop@1' } },
    [
      ['Status', 'crashed'],
      ['Errors', '1'],
      ['Release', 'shop@1'],
    ],
  ],
  ['user_report', { name: 'Jane', comments: ['x'] }, [['Name', 'Jane']]],
  ['check_in', 'damaged', []],
  ['unknown', { a: 1 }, []],
])('the facts of a %s come first', (type, payload, facts) => {
  expect(readItemFacts(type, payload).facts).toEqual(facts);
});

test('what an SDK discarded, and aggregated sessions, are tables', () => {
  const report = {
    discarded_events: [{ reason: 'sample_rate', category: 'transaction', quantity: 7 }, 1],
  };
  expect(readItemFacts('client_report', report).table).toEqual({
    columns: ['Discarded', 'Reason', 'Quantity'],
    rows: [['transaction', 'sample_rate', '7']],
  });
  const sessions = { aggregates: [{ started: 'now', exited: 2 }] };
  expect(readItemFacts('sessions', sessions).table?.rows).toEqual([['now', '2', '', '', '']]);
});
