import { expect, test } from 'vitest';

import { deepEvent } from '../fixtures/generate';
import dotnet from '../fixtures/dotnet.json?raw';
import javascript from '../fixtures/javascript.json?raw';
import native from '../fixtures/native.json?raw';
import python from '../fixtures/python.json?raw';
import { parseJson } from '../json';
import { readEvent } from './normalise';
import { readTimestampS } from './timestamp';

test('the exception chain, its frames and their meta are read', () => {
  const event = readEvent(parseJson(python));
  expect(event.exceptions.map((exception) => exception.type)).toEqual([
    'TimeoutError',
    'CheckoutFailed',
  ]);
  const frame = event.exceptions[0]?.stacktrace?.frames[0];
  expect(frame?.lineNo).toBe(58);
  expect(frame?.context.map(([lineNo]) => lineNo)).toEqual([
    53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63,
  ]);
  expect(frame?.vars?.transfer_id).toBe(9223372036854775807n);
  expect(event.exceptions[0]?.stacktrace?.meta).toBeDefined();
});

test('the commit is read from the release', () => {
  expect(readEvent(parseJson(python)).commit).toBe('5b1f0c9a7d3e2f4b6a8c0d1e2f3a4b5c6d7e8f90');
  expect(readEvent(parseJson(javascript)).commit).toBeNull();
  expect(readEvent({ release: 'c'.repeat(40) }).commit).toBe('c'.repeat(40));
});

test('breadcrumbs and tags are read in both forms', () => {
  const listed = readEvent(parseJson(javascript));
  expect(listed.breadcrumbs).toHaveLength(3);
  expect(listed.tags).toContainEqual({ key: 'browser.name', value: 'Firefox' });
  const mapped = readEvent(parseJson(python));
  expect(mapped.breadcrumbs).toHaveLength(3);
  expect(mapped.tags).toContainEqual({ key: 'region', value: 'eu-central' });
});

test('threads, registers and the CPU are read', () => {
  const event = readEvent(parseJson(native));
  expect(event.deviceArch).toBe('x86_64');
  expect(event.threads.map((thread) => thread.name)).toEqual(['main', 'decoder']);
  expect(event.exceptions[0]?.threadId).toBe('1181');
  expect(event.exceptions[0]?.stacktrace?.registers.rsi).toBe(9223372036854775809n);
});

test("a .NET frame's assembly is its package", () => {
  const event = readEvent(parseJson(dotnet));
  expect(event.exceptions[0]?.stacktrace?.frames[0]?.package).toMatch(/^Billing, Version=/);
});

test("Sentry's own names of a frame's members are understood", () => {
  const frames = [{ lineNo: 7, inApp: true, absPath: '/a.py', context: [[7, 'x\n']] }];
  const frame = readEvent({ stacktrace: { frames } }).stacktrace?.frames[0];
  expect(frame).toMatchObject({ lineNo: 7, inApp: true, absPath: '/a.py', context: [[7, 'x\n']] });
});

test.each([
  null,
  'text',
  [],
  { exception: 1, threads: 'x', breadcrumbs: { values: 3 }, tags: 1, contexts: [], spans: {} },
  { exception: { values: [null, 1, { stacktrace: { frames: [null, 'x', { vars: [] }] } }] } },
])('members of a wrong type count as absent: %j', (raw) => {
  expect(() => readEvent(raw)).not.toThrow();
});

const mark = (rule: string) => ({ '': { rem: [[rule, 'x']] } });

test('redactions are found by index, also after an invalid frame or thread', () => {
  const frames = [null, { function: 'f' }, 'x', { function: 'g' }];
  const framesMeta = { frames: { 1: mark('f'), 3: mark('g') } };
  const event = readEvent({
    stacktrace: { frames },
    threads: { values: [null, { id: 1, stacktrace: { frames } }] },
    _meta: { stacktrace: framesMeta, threads: { values: { 1: { stacktrace: framesMeta } } } },
  });
  for (const trace of [event.stacktrace, event.threads[0]?.stacktrace]) {
    expect(trace?.frames.map((frame) => frame.meta)).toEqual([mark('f'), mark('g')]);
  }
});

test.each([
  ['a list', [null, { value: 'v' }], { 1: { value: mark('r') } }],
  ['values', { values: [null, { value: 'v' }] }, { values: { 1: { value: mark('r') } } }],
  ['the value itself', { value: 'v' }, { value: mark('r') }],
])('redactions are found where an interface is %s', (_, exception, meta) => {
  const [read] = readEvent({ exception, _meta: { exception: meta } }).exceptions;
  expect(read?.meta).toEqual({ value: mark('r') });
});

test.each([
  ['an object', { a: 1, b: 2 }, { b: mark('r') }],
  ['pairs', [null, ['a', 1], ['b', 2]], { 2: { 1: mark('r') } }],
  ['keys and values', [{ value: 1 }, { key: 'b', value: 2 }], { 1: { value: mark('r') } }],
])('redactions of tags are found where tags are %s', (_, tags, meta) => {
  const tag = readEvent({ tags, _meta: { tags: meta } }).tags.at(-1);
  expect(tag).toEqual({ key: 'b', value: 2, meta: mark('r') });
});

test.each([
  [{ logentry: { formatted: 'm' } }, { logentry: { formatted: mark('r') } }],
  [{ logentry: { message: 'm' } }, { logentry: { message: mark('r') } }],
  [{ message: 'm' }, { message: mark('r') }],
])('redactions of a message are found: %j', (message, meta) => {
  const event = readEvent({ ...message, _meta: meta });
  expect([event.message, event.messageMeta]).toEqual(['m', mark('r')]);
});

test('a time without a zone is UTC', () => {
  expect(readTimestampS('1970-01-02T00:00:00.500')).toBe(86_400.5);
  expect(readTimestampS('1970-01-02T00:00:00.500Z')).toBe(86_400.5);
  expect(readTimestampS('yesterday')).toBeNull();
});

test('a trace of 500 frames is read in full', () => {
  expect(readEvent(deepEvent(500)).exceptions[0]?.stacktrace?.frames).toHaveLength(500);
});
