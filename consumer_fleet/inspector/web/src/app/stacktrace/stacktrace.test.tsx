import { fireEvent, render, screen, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { expect, test } from 'vitest';

import { EVENT, frame } from '../../context/testing';
import { deepEvent } from '../../fixtures/generate';
import type { Frame, Stacktrace } from '../../model/event';
import { readEvent } from '../../model/normalise';
import { initiallyOpenFrame, planFrames } from './framePlan';
import { StackTrace } from './StackTrace';

function frames(pattern: string): Frame[] {
  return Array.from(pattern, (kind, index) =>
    frame({ inApp: kind === 'A', function: `f${index}`, lineNo: index, vars: { index } }),
  );
}

function plan(pattern: string, isAppOnly = true): string {
  return planFrames(frames(pattern), isAppOnly)
    .map((part) => (part.kind === 'frame' ? String(part.index) : `[${part.indexes.join(' ')}]`))
    .join(' ');
}

function trace(shown: Frame[], change: Partial<Stacktrace> = {}): Stacktrace {
  return { frames: shown, framesOmitted: null, registers: {}, meta: undefined, ...change };
}

function renderTrace(stacktrace: Stacktrace) {
  render(<StackTrace event={EVENT} stacktrace={stacktrace} heading="Boom" coverage={null} />);
}

const functions = () =>
  screen.getAllByTestId('frame').map((row) => row.querySelector('.frame-function')?.textContent);

test.each([
  ['xxxxA', '[0 1 2] 3 4'],
  ['AxxxA', '0 [1 2] 3 4'],
  ['Axxx', '0 [1 2] 3'],
  ['AA', '0 1'],
  ['xxxx', '0 1 2 3'],
])(
  'library frames fold, except callers of the application and the last frame: %s',
  (given, expected) => {
    expect(plan(given)).toBe(expected);
    expect(plan(given, false)).toBe(Array.from(given, (_, index) => index).join(' '));
  },
);

test('recursion is one frame with a count', () => {
  const same = frame({ inApp: true, function: 'again', lineNo: 3 });
  expect(planFrames([same, same, same, frame({ inApp: true })], true)).toEqual([
    { kind: 'frame', index: 2, repeats: 2 },
    { kind: 'frame', index: 3, repeats: 0 },
  ]);
});

test.each([
  ['AxAxx', 2],
  ['xxx', 2],
])('only the innermost application frame is open initially: %s', (given, index) => {
  expect(initiallyOpenFrame(frames(given))).toBe(index);
  renderTrace(trace(frames(given)));
  const open = screen.getAllByRole('button', { expanded: true, name: /^f\d/ });
  expect(open.map((button) => button.textContent.slice(0, 2))).toEqual([`f${index}`]);
});

test('the innermost frame comes first, or last on request', async () => {
  renderTrace(trace(frames('AAA')));
  expect(functions()).toEqual(['f2', 'f1', 'f0']);
  await userEvent.click(screen.getByRole('button', { name: 'Oldest first' }));
  expect(functions()).toEqual(['f0', 'f1', 'f2']);
});

test('folded frames can be shown, one run or all', async () => {
  renderTrace(trace(frames('AxxxxAxxxA')));
  expect(functions()).toEqual(['f9', 'f8', 'f5', 'f4', 'f0']);
  await userEvent.click(screen.getByRole('button', { name: 'Show 3 more frames' }));
  expect(functions()).toEqual(['f9', 'f8', 'f5', 'f4', 'f3', 'f2', 'f1', 'f0']);
  await userEvent.click(screen.getByRole('button', { name: 'All frames' }));
  expect(functions()).toHaveLength(10);
});

test('registers belong to the innermost frame only', async () => {
  renderTrace(trace(frames('AA'), { registers: { rax: '0x1' } }));
  await userEvent.click(screen.getByRole('button', { name: /^f0/ }));
  const [innermost, outer] = screen.getAllByTestId('frame');
  if (innermost === undefined || outer === undefined) throw new Error('two frames expected');
  within(innermost).getByRole('group', { name: 'Registers' });
  expect(within(outer).queryByRole('group', { name: 'Registers' })).toBeNull();
});

test("a click on a frame's head folds it", async () => {
  renderTrace(trace(frames('A')));
  screen.getByRole('group', { name: 'Variables' });
  await userEvent.click(screen.getByRole('button', { name: /^f0/ }));
  expect(screen.queryByRole('group', { name: 'Variables' })).toBeNull();
});

test('frames omitted by the SDK are mentioned', () => {
  renderTrace(trace(frames('A'), { framesOmitted: [20, 80] }));
  screen.getByText('The SDK omitted frames 20 to 80.');
});

test('a trace can be copied as text', async () => {
  const user = userEvent.setup();
  renderTrace(trace([frame({ function: 'pay', lineNo: 3, context: [[3, '  go()\n']] })]));
  await user.click(screen.getByRole('button', { name: 'Copy stack trace' }));
  expect(await navigator.clipboard.readText()).toBe('Boom\n  at pay (app/orders.py:3)\n    go()');
});

test('a trace of 500 frames shows them all on request', () => {
  const stacktrace = readEvent(deepEvent(500)).exceptions[0]?.stacktrace;
  if (!stacktrace) throw new Error('the event has a stack trace');
  renderTrace(stacktrace);
  expect(screen.getAllByTestId('frame').length).toBeLessThan(500);
  fireEvent.click(screen.getByText('All frames'));
  expect(screen.getAllByTestId('frame')).toHaveLength(500);
});

test('any number of frames is shown page by page, the innermost first', () => {
  renderTrace(trace(frames('x'.repeat(1_200))));
  expect(functions()).toHaveLength(500);
  expect(functions()[0]).toBe('f1199');
  // By text: asking for roles takes jsdom long among so many elements.
  fireEvent.click(screen.getByText('Show 500 more of 1,200 rows'));
  fireEvent.click(screen.getByText('Show 200 more of 1,200 rows'));
  expect(functions()).toHaveLength(1_200);
  fireEvent.click(screen.getByText('Oldest first'));
  expect(functions()[0]).toBe('f0');
});

test('each frame has its own redactions, also after an invalid frame', () => {
  const secret = { '': { rem: [['@password', 'x']] } };
  const shown = { function: 'f', vars: { secret: '', plain: 'visible' } };
  const event = readEvent({
    stacktrace: { frames: [null, shown] },
    _meta: { stacktrace: { frames: { 1: { vars: { secret } } } } },
  });
  if (event.stacktrace === null) throw new Error('the event has a stack trace');
  renderTrace(event.stacktrace);
  expect(document.querySelector('.fc-redacted')?.textContent).toContain('<redacted>');
});
