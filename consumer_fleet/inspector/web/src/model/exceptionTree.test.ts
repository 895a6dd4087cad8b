import { expect, test } from 'vitest';

import { cpuMsOf } from '../fixtures/cpuTime';
import payloads from '../fixtures/exceptions.json';
import type { JsonObject, JsonValue } from '../json';
import { exceptionTree } from './exceptionTree';
import { readEvent } from './normalise';

/** One line per exception, indented by its depth. */
function drawn(event: JsonValue): string[] {
  const { exceptions, platform, sdkName } = readEvent(event);
  return exceptionTree(exceptions, platform, sdkName).map(
    ({ exception, parent, relation, depth, problem }) =>
      [
        ' '.repeat(depth) + String(exception.type),
        relation === null ? null : `${relation.kind} ${String(parent?.type)}`,
        problem,
      ]
        .filter((part) => part !== null)
        .join(': '),
  );
}

// The payloads are from the SDKs, without stack traces; Java's has the members that its SDK sets.
test('a group of Python has members, each with its own cause or context', () => {
  expect(drawn(payloads.pythonGroup)).toEqual([
    'ExceptionGroup',
    ' ValueError: member of group ExceptionGroup',
    '  KeyError: caused by ValueError',
    ' ExceptionGroup: member of group ExceptionGroup',
    '  OSError: member of group ExceptionGroup',
    '   TimeoutError: during handling of OSError',
  ]);
});

test.each([
  ['raise … from', payloads.pythonCause, 'ValueError', 'KeyError'],
  ['an exception during handling', payloads.pythonContext, 'OSError', 'TimeoutError'],
])('outside a group, %s is only an order: the SDK sends no more', (_, event, last, first) => {
  expect(drawn(event)).toEqual([last, ` ${first}: raised after ${last}`]);
});

test.each([
  ['__cause__', 'caused by'],
  ['__context__', 'during handling of'],
])('a Python exception from %s is %s', (source, relation) => {
  const values = linked(['KeyError', { exception_id: 1, parent_id: 0, source }]);
  expect(drawn({ platform: 'python', exception: { values } })[1]).toBe(
    ` KeyError: ${relation} Root`,
  );
});

test('suppressed exceptions of Java are no causes', () => {
  expect(drawn(payloads.javaSuppressed)).toEqual([
    'PaymentException',
    ' IllegalStateException: suppressed PaymentException',
    '  IOException: caused by IllegalStateException',
    ' SocketTimeoutException: caused by PaymentException',
  ]);
});

test('the errors of an AggregateError are its members', () => {
  expect(drawn(payloads.javascriptAggregate)).toEqual([
    'AggregateError',
    ' TypeError: member of group AggregateError',
    '  RangeError: caused by TypeError',
    ' Error: member of group AggregateError',
  ]);
});

test('exceptions of a group are members also without a source', () => {
  const values = linked(['A', { exception_id: 1, parent_id: 0 }], { is_exception_group: true });
  expect(drawn({ platform: 'csharp', exception: { values } })[1]).toBe(' A: member of group Root');
});

test('a link of an unknown kind is not called a cause', () => {
  const values = linked(['A', { type: 'chained', exception_id: 1, parent_id: 0, source: 'x' }]);
  expect(drawn({ platform: 'java', exception: { values } })[1]).toBe(' A: linked Root');
});

test('a chain without ids: a cause where the language knows nothing else', () => {
  const exception = { values: [{ type: 'A' }, { type: 'B' }] };
  expect(drawn({ platform: 'java', exception })).toEqual(['B', ' A: caused by B']);
  expect(drawn({ exception })).toEqual(['B', ' A: raised after B']);
});

test('missing, ambiguous and cyclic parents are said, and no exception is lost', () => {
  const values = [
    { type: 'Loose' },
    { type: 'Lost', mechanism: { exception_id: 9, parent_id: 404 } },
    { type: 'Below', mechanism: { exception_id: 8, parent_id: 6 } },
    { type: 'Two', mechanism: { exception_id: 7, parent_id: 6 } },
    { type: 'One', mechanism: { exception_id: 6, parent_id: 7 } },
    { type: 'Self', mechanism: { exception_id: 5, parent_id: 5 } },
    { type: 'Doubted', mechanism: { exception_id: 4, parent_id: 3 } },
    { type: 'Twin', mechanism: { exception_id: 3, parent_id: 0 } },
    { type: 'Twin', mechanism: { exception_id: 3, parent_id: 0 } },
    { type: 'Odd', mechanism: { exception_id: {}, parent_id: '0' } },
    { type: 'Root', mechanism: { exception_id: 0 } },
  ];
  expect(drawn({ platform: 'java', exception: { values } })).toEqual([
    'Root',
    ' Twin: caused by Root',
    ' Twin: caused by Root',
    'Odd: The event does not say how it relates to the others.',
    'Doubted: Its parent is unknown: 2 exceptions have the id 3.',
    'Self: Its parent ids form a cycle.',
    'One: Its parent ids form a cycle.',
    ' Below: caused by One',
    'Two: Its parent ids form a cycle.',
    'Lost: Its parent, exception 404, is not in the event.',
    'Loose: The event does not say how it relates to the others.',
  ]);
});

test.each([
  ['a chain', (index: number) => index - 1],
  ['one cycle', (index: number) => (index + 1) % 20_000],
  ['all below the first', () => 0],
])('20,000 exceptions as %s are read quickly', (_, parentOf) => {
  const values = Array.from({ length: 20_000 }, (_unused, index) => ({
    type: `E${index}`,
    mechanism: { exception_id: index, parent_id: parentOf(index) },
  })).reverse();
  const tookMs = cpuMsOf(() => {
    expect(drawn({ exception: { values } })).toHaveLength(20_000);
  });
  expect(tookMs).toBeLessThan(2_000);
});

function linked([type, mechanism]: [string, JsonObject], root: JsonObject = {}): JsonObject[] {
  return [
    { type, mechanism },
    { type: 'Root', mechanism: { exception_id: 0, ...root } },
  ];
}
