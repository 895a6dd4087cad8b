import { screen, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { expect, test } from 'vitest';

import { cpuMsOf } from '../fixtures/cpuTime';
import type { SourceLine } from '../model/event';
import { frame, renderContext, SOURCE_FRAME } from './testing';

function lineTexts(): string[] {
  return screen
    .queryAllByTestId('context-line')
    .map((line) => within(line).getByRole('code').textContent);
}

test('expanded, every line of the context is shown', () => {
  renderContext({ frame: SOURCE_FRAME, hasContextSource: true, isExpanded: true });
  expect(lineTexts()).toEqual(['first = 1', 'second = first + 1', 'third = None']);
});

test('collapsed, only the active line is shown', () => {
  renderContext({ frame: SOURCE_FRAME, hasContextSource: true });
  expect(lineTexts()).toEqual(['second = first + 1']);
});

test('collapsed without an active line, no line is shown', () => {
  const lineless = { ...SOURCE_FRAME, lineNo: null };
  renderContext({ frame: lineless, hasContextSource: true });
  expect(lineTexts()).toEqual([]);
});

test('trailing newlines are stripped, other spaces are kept', () => {
  const indented = frame({ context: [[1, '    return x  \r\n\n']] });
  renderContext({ frame: indented, hasContextSource: true, isExpanded: true });
  expect(lineTexts()).toEqual(['    return x  ']);
});

test('lines carry their numbers and the active one is marked', () => {
  renderContext({ frame: SOURCE_FRAME, hasContextSource: true, isExpanded: true });
  const [first, second] = screen.getAllByTestId('context-line');
  expect(first?.textContent).toMatch(/^10/);
  expect(first?.getAttribute('aria-current')).toBeNull();
  expect(second?.getAttribute('aria-current')).toBe('true');
  expect(screen.getByRole('list', { name: 'Source code' }).getAttribute('start')).toBe('10');
});

test.each([
  ['app/orders.py', ['None']],
  ['app/orders.unknown', []],
])("the language comes from the file's extension: %s", (filename, keywords) => {
  renderContext({
    frame: frame({ filename, context: SOURCE_FRAME.context }),
    hasContextSource: true,
    isExpanded: true,
  });
  const found = [...document.querySelectorAll('.hljs-literal, .hljs-keyword')];
  expect(found.map((element) => element.textContent)).toEqual(keywords);
});

test('the line of a folded frame has no colours', () => {
  renderContext({ frame: SOURCE_FRAME, hasContextSource: true, isExpanded: false });
  screen.getByTestId('context-line');
  expect(document.querySelectorAll('[class^=hljs]').length).toBe(0);
});

test('an empty source list does not crash', () => {
  const { container } = renderContext({
    frame: frame({ context: [] }),
    hasContextSource: true,
    isExpanded: true,
  });
  expect(container.textContent).toBe('');
});

test('nothing is rendered without details', () => {
  const { container } = renderContext({ isExpanded: true });
  expect(container.firstChild).toBeNull();
});

test('with emptySourceNotation, a text is shown without details', () => {
  renderContext({ isExpanded: true, emptySourceNotation: true });
  screen.getByText('No additional details are available for this frame.');
});

test('an empty source list with emptySourceNotation shows the text', () => {
  renderContext({ hasContextSource: true, emptySourceNotation: true });
  screen.getByText('No additional details are available for this frame.');
});

test('without its flag, a part is not shown', () => {
  const full = { ...SOURCE_FRAME, vars: { x: 1 }, package: 'A, Version=1' };
  renderContext({ frame: full, registers: { rax: '0x1' }, isExpanded: true, hasContextVars: true });
  expect(lineTexts()).toEqual([]);
  screen.getByRole('group', { name: 'Variables' });
  expect(screen.queryByRole('group', { name: 'Registers' })).toBeNull();
  expect(screen.queryByRole('group', { name: 'Assembly' })).toBeNull();
});

test('markup in source is text', () => {
  const hostile = frame({ filename: 'a.html', context: [[1, '<img src=x onerror=alert(1)>']] });
  renderContext({ frame: hostile, hasContextSource: true, isExpanded: true });
  expect(lineTexts()).toEqual(['<img src=x onerror=alert(1)>']);
  expect(document.querySelector('img')).toBeNull();
});

test('of very many lines, those around the active one are shown first', async () => {
  const context = Array.from({ length: 20_000 }, (_, n): SourceLine => [n + 1, 'pass']);
  const shown = frame({ context, lineNo: 10_000 });
  renderContext({ frame: shown, hasContextSource: true, isExpanded: true });
  const numbers = () =>
    screen.getAllByTestId('context-line').map((line) => Number.parseInt(line.textContent));
  expect(numbers()).toHaveLength(500);
  expect(numbers()).toContain(10_000);
  expect(document.querySelector('[aria-current]')?.textContent).toBe('10000pass');
  expect(screen.getByRole('list').getAttribute('start')).toBe(String(numbers()[0]));
  await userEvent.click(screen.getByRole('button', { name: 'Show 500 more of 20,000 lines' }));
  expect(numbers()).toHaveLength(1_000);
});

test('a collapsed frame shows one line, however many have its number', () => {
  const context = Array.from({ length: 1_000 }, (): SourceLine => [7, 'pass']);
  renderContext({ frame: frame({ context, lineNo: 7 }), hasContextSource: true });
  expect(screen.getAllByTestId('context-line')).toHaveLength(1);
});

test('long line ends and names are processed quickly', () => {
  const text = `${'\n'.repeat(100_000)}x`;
  const shown = frame({ context: [[7, text]], lineNo: 7, filename: `${'.a?'.repeat(100_000)}\n` });
  const tookMs = cpuMsOf(() => {
    renderContext({ frame: shown, hasContextSource: true, isExpanded: true });
  });
  expect(tookMs).toBeLessThan(5_000);
});
