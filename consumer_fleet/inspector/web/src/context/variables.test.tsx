import { fireEvent, render, screen, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { expect, test, vi } from 'vitest';

import { type JsonObject, type JsonValue, parseJson } from '../json';
import { contextElement, frame, renderContext } from './testing';

function renderVariables(vars: JsonObject, platform = 'python', frameMeta?: JsonValue) {
  renderContext({
    frame: frame({ vars }),
    hasContextVars: true,
    isExpanded: true,
    platform,
    frameMeta,
  });
}

function shownValue(name: string): string {
  const term = screen.getByText(name, { selector: 'dt *' }).closest('dt');
  return term?.nextElementSibling?.textContent ?? '';
}

function withHeight(px: number) {
  vi.spyOn(HTMLElement.prototype, 'scrollHeight', 'get').mockReturnValue(px);
}

test('variables are clipped at 100 px until expanded', async () => {
  withHeight(400);
  renderVariables({ a: 1 });
  const box = document.querySelector<HTMLElement>('.fc-clipped-content');
  expect(box?.style.maxHeight).toBe('100px');
  await userEvent.click(screen.getByRole('button', { name: 'Show more variables' }));
  expect(box?.style.maxHeight).toBe('');
  screen.getByRole('button', { name: 'Show less variables' });
});

test('short variables are not clipped', () => {
  withHeight(90);
  renderVariables({ a: 1 });
  expect(document.querySelector<HTMLElement>('.fc-clipped-content')?.style.maxHeight).toBe('');
  expect(screen.queryByRole('button', { name: /Show more/ })).toBeNull();
});

test('clicks inside the variables do not fold the frame', async () => {
  const fold = vi.fn();
  render(
    <div onClick={fold}>
      {contextElement({ frame: frame({ vars: { a: { b: 1 } } }), hasContextVars: true })}
    </div>,
  );
  await userEvent.click(screen.getByText('a'));
  await userEvent.click(screen.getByRole('button', { name: /Collapse/ }));
  expect(fold).not.toHaveBeenCalled();
});

test.each([
  ['python', null, 'None'],
  ['python', 'None', 'None'],
  ['python', true, 'True'],
  ['python', 'False', 'False'],
  ['python', "'str'", "'str'"],
  ['python', '<Order 1>', '<Order 1>'],
  ['node', null, 'null'],
  ['javascript', '<null>', 'null'],
  ['javascript', '<undefined>', 'undefined'],
  ['javascript', '[undefined]', 'undefined'],
  ['ruby', null, 'nil'],
  ['ruby', 'nil', 'nil'],
  ['php', null, 'null'],
  ['php', true, 'true'],
  ['other', null, 'null'],
])('on %s, %j is written %s', (platform, value, expected) => {
  renderVariables({ x: value }, platform);
  expect(shownValue('x')).toBe(expected);
});

test.each([
  ['python', 'None', 'null'],
  ['python', 'True', 'boolean'],
  ['python', '12', 'number'],
  ['python', "'str'", 'string'],
  ['ruby', 'None', 'plain'],
  ['php', 'null', 'null'],
  ['javascript', '<undefined>', 'null'],
])('on %s, %j is coloured as %s', (platform, value, kind) => {
  renderVariables({ x: value }, platform);
  expect(document.querySelector('dd .fc-value')?.className).toContain(`fc-value-${kind}`);
});

test("the frame's own platform decides, not the event's", () => {
  renderContext({
    frame: frame({ vars: { x: null }, platform: 'ruby' }),
    hasContextVars: true,
    platform: 'python',
  });
  expect(shownValue('x')).toBe('nil');
});

test('64-bit integers are shown in full', () => {
  renderVariables(parseJson('{"x": 9223372036854775807}') as JsonObject);
  expect(shownValue('x')).toBe('9223372036854775807');
});

test('nested structures fold', async () => {
  renderVariables({ outer: { inner: { deep: { deeper: 1 } } } });
  expect(screen.queryByText('deeper:', { exact: false })).toBeNull();
  await userEvent.click(screen.getByRole('button', { name: 'Expand 1 item' }));
  screen.getByText('deeper', { exact: false });
  const [outer] = screen.getAllByRole('button', { name: /Collapse/ });
  if (outer === undefined) throw new Error('nothing to fold');
  await userEvent.click(outer);
  expect(screen.queryByText('inner', { exact: false })).toBeNull();
});

test('a long list shows its first hundred items, then more', async () => {
  renderVariables({ x: Array.from({ length: 150 }, (_, index) => index) });
  await userEvent.click(screen.getByRole('button', { name: 'Expand 150 items' }));
  expect(document.querySelectorAll('.fc-member')).toHaveLength(100);
  await userEvent.click(screen.getByRole('button', { name: 'Show 50 more of 150' }));
  expect(document.querySelectorAll('.fc-member')).toHaveLength(150);
});

function describedBy(element: HTMLElement): string | null {
  const id = element.getAttribute('aria-describedby') ?? '';
  return document.getElementById(id)?.textContent ?? null;
}

test('a redacted value is shown with its rule and remark', () => {
  const meta = { vars: { card: { '': { rem: [['@creditcard:filter', 's', 0, 10]], len: 16 } } } };
  renderVariables({ card: '[Filtered]' }, 'python', meta);
  const mark = screen.getByText('[Filtered]').closest<HTMLElement>('[role=note]');
  expect(mark && describedBy(mark)).toBe('Replaced because of the PII rule “@creditcard:filter”');
});

test('a removed value is marked, with its rule, remark and original length', () => {
  const meta = { vars: { card: { '': { rem: [['project:2', 'x']], len: 12 } } } };
  renderVariables({ card: '' }, 'python', meta);
  const mark = screen.getByText('<redacted>').closest<HTMLElement>('[role=note]');
  expect(mark && describedBy(mark)).toBe(
    'Removed because of the PII rule “project:2” (original length 12)',
  );
});

test('within a text, just the redacted part is marked; positions count bytes', () => {
  const meta = { vars: { note: { '': { rem: [['@email', 'm', 7, 12]] } } } };
  renderVariables({ note: 'für ü*****!' }, 'ruby', meta);
  const mark = screen.getByRole('note');
  expect(mark.firstChild?.textContent).toBe('*****');
  expect(describedBy(mark)).toBe('Masked because of the PII rule “@email”');
});

test('redaction deep inside a variable is found', () => {
  const meta = { vars: { card: { number: { '': { rem: [['@x', 's']] } } } } };
  renderVariables({ card: { number: '[Filtered]' } }, 'python', meta);
  const value = screen.getByText('card').closest('div');
  const mark = value && within(value).getByRole('note');
  expect(mark && describedBy(mark)).toContain('“@x”');
});

test('a redaction is explained on focus', () => {
  const meta = { vars: { card: { '': { rem: [['@x', 's']] } } } };
  renderVariables({ card: '[Filtered]' }, 'python', meta);
  expect(screen.queryByRole('tooltip')).toBeNull();
  fireEvent.focus(screen.getByRole('note'));
  screen.getByRole('tooltip');
});

test('characters that reorder or hide text are made visible', () => {
  renderVariables({ x: 'exe\u202egpj\u0000' }, 'ruby');
  expect(shownValue('x')).toBe('exeU+202EgpjU+0000');
});

test('variables can be copied, their numbers exact', async () => {
  const user = userEvent.setup();
  renderVariables(parseJson('{"x": 9223372036854775807}') as JsonObject);
  await user.click(screen.getByRole('button', { name: 'Copy variables' }));
  expect(await navigator.clipboard.readText()).toBe('{\n  "x": 9223372036854775807\n}');
  await screen.findByText('Copied');
});

test('any number of variables is shown by the hundred', async () => {
  renderVariables(Object.fromEntries(Array.from({ length: 20_000 }, (_, n) => [`v${n}`, n])));
  expect(document.querySelectorAll('.fc-pair')).toHaveLength(100);
  await userEvent.click(screen.getByRole('button', { name: 'Show 100 more of 20,000 variables' }));
  expect(document.querySelectorAll('.fc-pair')).toHaveLength(200);
});

test('showing more variables does not fold the frame', async () => {
  const fold = vi.fn();
  const vars = Object.fromEntries(Array.from({ length: 101 }, (_, n) => [`v${n}`, n]));
  render(
    <div onClick={fold}>{contextElement({ frame: frame({ vars }), hasContextVars: true })}</div>,
  );
  await userEvent.click(screen.getByRole('button', { name: 'Show 1 more of 101 variables' }));
  expect(fold).not.toHaveBeenCalled();
  expect(screen.queryByRole('button', { name: /more of/ })).toBeNull();
});

test('a long text is shown in part, then more', async () => {
  renderVariables({ x: 'a'.repeat(50_000) }, 'ruby');
  const more = screen.getByRole('button', { name: 'Show more of 50,000 characters' });
  expect(document.querySelector('dd bdi')?.textContent).toHaveLength(10_000);
  await userEvent.click(more);
  expect(document.querySelector('dd bdi')?.textContent).toHaveLength(50_000);
  expect(screen.queryByRole('button', { name: /characters/ })).toBeNull();
});

test('of very many marks in a text, some are shown, then more', async () => {
  const rem = Array.from({ length: 20_000 }, (_, at) => ['r', 'x', at, at + 1]);
  renderVariables({ x: 'm'.repeat(30_000) }, 'ruby', { vars: { x: { '': { rem } } } });
  expect(screen.getAllByRole('note').length).toBeLessThan(101);
  await userEvent.click(screen.getByRole('button', { name: /characters/ }));
  expect(screen.getAllByRole('note').length).toBeGreaterThan(500);
});

test('very many remarks and errors about one value are one mark each', () => {
  const rem = Array.from({ length: 1_000 }, () => ['r', 'x']);
  const err = Array.from({ length: 1_000 }, () => 'invalid');
  renderVariables({ x: 'm' }, 'ruby', { vars: { x: { '': { rem, err } } } });
  const marks = screen.getAllByRole('note');
  expect(marks.map((mark) => mark.firstChild?.textContent)).toEqual(['m', '!']);
  for (const mark of marks) expect(describedBy(mark)).toMatch(/; and 990 more$/);
});

test('very many characters that hide text are text without an element each', () => {
  renderVariables({ x: '\u0000'.repeat(5_000) }, 'ruby');
  expect(shownValue('x')).toBe('U+0000'.repeat(5_000));
  expect(document.querySelectorAll('.fc-invisible')).toHaveLength(100);
});

test.each(['constructor', 'toString', '__proto__', 'hasOwnProperty'])(
  'a rule or remark named %s is just a name',
  (name) => {
    renderVariables({ x: 'm' }, 'ruby', { vars: { x: { '': { rem: [[name, name]] } } } });
    expect(describedBy(screen.getByRole('note'))).toBe(`Changed because of the PII rule “${name}”`);
  },
);
