import { expect, test } from 'vitest';

import { cpuMsOf } from '../fixtures/cpuTime';
import { buildTrace, placeOn, unfoldedNodes, type TraceSpan } from './trace';

function span(id: string, parent = '', start: number | null = 0, end = start): TraceSpan {
  return {
    entry: 1,
    is_segment: false,
    span_id: id,
    parent,
    op: '',
    name: id,
    status: '',
    start,
    end,
  };
}

function drawn(spans: TraceSpan[]): string[] {
  return buildTrace(spans).nodes.map(({ span: { name }, depth }) => `${'-'.repeat(depth)}${name}`);
}

test('children follow their parent, by their start, wherever they were sent', () => {
  expect(
    drawn([span('c', 'b', 3), span('d', 'a', 4), span('b', 'a', 2), span('a', '', 1)]),
  ).toEqual(['a', '-b', '--c', '-d']);
});

test('cyclic parents are drawn once, and named', () => {
  const { nodes } = buildTrace([span('a', 'b'), span('b', 'c'), span('c', 'a'), span('d', 'd')]);
  expect(nodes).toHaveLength(4);
  const named = nodes.filter(({ problems }) => problems.includes('is in a cycle of parents'));
  expect(named.map(({ span: { name } }) => name).sort()).toEqual(['c', 'd']);
});

test('a missing parent, id or time is said, not invented', () => {
  const { nodes, axis } = buildTrace([
    span('a', 'elsewhere', null),
    span('', '', 5),
    span('b', '', 1),
    span('b', '', 2, 1),
  ]);
  const byStart = nodes.map(({ span: { start }, problems }) => [String(start), problems]);
  expect(Object.fromEntries(byStart)).toEqual({
    null: [
      'has a parent that is not in this trace: elsewhere',
      'has no start time',
      'has no end time',
    ],
    5: ['has no span id'],
    1: [],
    2: ['has the id of another span', 'ends before it starts'],
  });
  expect(axis).toEqual({ startS: 1, endS: 5 });
  expect(buildTrace([span('a', '', null)]).axis).toBeNull();
});

test('a span before its parent is named, and one with a wrong clock is off the axis', () => {
  const now = 1_770_800_000;
  const { nodes, axis } = buildTrace([
    span('parent', '', now, now + 2),
    span('early', 'parent', now - 1, now + 1),
    span('ancient', 'parent', 0, 1),
  ]);
  expect(nodes.map(({ span: { name }, problems }) => [name, problems])).toEqual([
    ['parent', []],
    ['ancient', ['starts before its parent']],
    ['early', ['starts before its parent']],
  ]);
  expect(axis).toEqual({ startS: now - 1, endS: now + 2 });
  expect(axis && placeOn(axis, now + 0.5)).toBe(50);
  expect(axis && placeOn(axis, 0)).toBeNull();
});

test('marks are on the span that they name', () => {
  const mark = { entry: 2, kind: 'error', level: 'error', title: 'x', span_id: 'b', at: 1 };
  const { nodes } = buildTrace([span('a'), span('b', 'a')], [mark, { ...mark, span_id: 'z' }]);
  expect(nodes.map(({ marks }) => marks.length)).toEqual([0, 1]);
});

test('a folded span hides what is below it', () => {
  const { nodes } = buildTrace([span('a'), span('b', 'a'), span('c', 'b'), span('d')]);
  const [, b] = nodes;
  const shown = unfoldedNodes(nodes, new Set(b === undefined ? [] : [b]));
  expect(shown.map(({ span: { name } }) => name)).toEqual(['a', 'b', 'd']);
});

test('a chain of 100,000 spans takes no stack and little time', () => {
  const spans = Array.from({ length: 100_000 }, (_, index) =>
    span(`s${index}`, index === 0 ? '' : `s${index - 1}`, index),
  );
  const tookMs = cpuMsOf(() => {
    const { nodes } = buildTrace(spans.reverse());
    expect(nodes.at(-1)?.depth).toBe(99_999);
  });
  expect(tookMs).toBeLessThan(2_000);
});
