import { expect, test } from 'vitest';

import { addSample, formatAge, formatNumber, rowsOf, seriesOf, spanOf } from './model';
import type { Consumer, Destination, Sample } from './types';

const UPSTREAM: Destination = { name: 'upstream', state: 'open', severity: 0, cause: null };
const EVENTS: Consumer = {
  name: 'events',
  topic: 'events',
  group: 'group',
  state: 'held back',
  severity: 1,
  causes: ['held back: 1 failing'],
  destinations: [UPSTREAM],
  partitions: [],
};

function rows(consumer: Consumer) {
  return rowsOf({ at_s: 0, consumers: [consumer], workers: [], problem: null });
}

function sample(bucket: number, value: number | null): Sample {
  return { bucket, rows: { 'group/events/upstream': [value] } };
}

test('the worse of both states is the row’s, and all causes are listed', () => {
  const saas: Destination = { name: 'saas', state: 'paused', severity: 2, cause: 'HTTP 403' };
  const [upstream, second] = rows({ ...EVENTS, destinations: [UPSTREAM, saas] });
  expect(upstream).toMatchObject({ key: 'group/events/upstream', state: 'held back', severity: 1 });
  expect(second).toMatchObject({
    key: 'group/events/saas',
    state: 'paused',
    severity: 2,
    causes: ['saas is paused: HTTP 403', 'held back: 1 failing'],
  });
});

test('a consumer whose destinations are unknown has one row', () => {
  expect(rows({ ...EVENTS, destinations: [] })).toMatchObject([{ key: 'group/events/' }]);
});

test('a sample replaces the one of its bucket, and ends what is older than an hour', () => {
  let samples = [sample(0, 1), sample(1, 2)];
  samples = addSample(samples, sample(1, 3), 10);
  expect(samples).toEqual([sample(0, 1), sample(1, 3)]);
  samples = addSample(samples, sample(360, 4), 10);
  expect(samples.map(({ bucket }) => bucket)).toEqual([1, 360]);
});

test('a plot begins with the first sample, five minutes ago at the latest', () => {
  expect(spanOf([sample(5, 1), sample(6, 1)], 10)).toEqual({ from: -24, to: 6 });
  expect(spanOf([sample(5, 1), sample(90, 1)], 10)).toEqual({ from: 5, to: 90 });
});

test('a counter is plotted by its growth, with gaps where it is unknown', () => {
  const samples = [sample(1, 5), sample(2, 8), sample(3, null), sample(4, 9), sample(5, 2)];
  const points = seriesOf(samples, 'group/events/upstream', 0, true);
  expect(points.map(({ value }) => value)).toEqual([3, null, null, 0]);
  const gauge = seriesOf(samples, 'group/events/upstream', 0, false);
  expect(gauge.map(({ value }) => value)).toEqual([5, 8, null, 9, 2]);
});

test('figures are short', () => {
  expect([0.25, 12.34, 12_345, 2_450_118].map(formatNumber)).toEqual([
    '0.3',
    '12',
    '12,345',
    '2.5M',
  ]);
  expect([0.4, 59.9, 95, 5_400, 600_000].map(formatAge)).toEqual([
    '0 s',
    '59 s',
    '1.5 min',
    '1.5 h',
    '6.9 d',
  ]);
});
