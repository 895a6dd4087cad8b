import { render, screen, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { expect, test } from 'vitest';

import { entry } from '../../fixtures/generate';
import type { JsonObject } from '../../json';
import { readEvent } from '../../model/normalise';
import { EnvelopeView } from './EnvelopeView';
import { EventView } from './EventView';

const MANY = 2_000;

function many<T>(make: (index: number) => T, count = MANY): T[] {
  return Array.from({ length: count }, (_, index) => make(index));
}

function wideObject(): JsonObject {
  return Object.fromEntries(many((index): [string, number] => [`key ${index}`, index]));
}

function renderEvent(event: JsonObject) {
  return render(<EventView event={readEvent(event)} coverage={null} />).container;
}

// The number shown initially, the button, and the number after one click.
test.each<[string, JsonObject, string, number, string, number]>([
  ['names', { extra: wideObject() }, '.fc-pair', 100, 'Show 100 more of 2,000', 200],
  ['tags', { tags: wideObject() }, '.tag', 100, 'Show 100 more of 2,000 tags', 200],
  [
    'contexts',
    { contexts: Object.fromEntries(many((index) => [`c${index}`, { a: 1 }])) },
    '.card',
    20,
    'Show 20 more of 2,000 contexts',
    40,
  ],
  [
    'breadcrumbs',
    { breadcrumbs: many(() => ({ message: 'm' })) },
    '.crumb',
    15,
    'Show 100 more of 2,000 breadcrumbs',
    115,
  ],
  [
    "a breadcrumb's data",
    { breadcrumbs: [{ data: wideObject() }] },
    '.fc-pair',
    20,
    'Show 20 more of 2,000',
    40,
  ],
  [
    'exceptions',
    { exception: { values: many((index) => ({ type: `T${index}` })) } },
    '.exception',
    5,
    'Show 5 more of 2,000 exceptions',
    10,
  ],
  [
    "a mechanism's data",
    { exception: { values: [{ type: 'T', mechanism: { data: wideObject() } }] } },
    '.fc-pair',
    100,
    'Show 100 more of 2,000',
    200,
  ],
])('any number of %s is shown page by page', async (_, event, selector, first, more, then) => {
  const page = renderEvent(event);
  expect(page.querySelectorAll(selector)).toHaveLength(first);
  await userEvent.click(screen.getByRole('button', { name: more }));
  expect(page.querySelectorAll(selector)).toHaveLength(then);
});

test('of very many threads, the crashed one and its neighbours are offered first', async () => {
  renderEvent({ threads: many((index) => ({ id: index, crashed: index === 1_500 })) });
  const choice = screen.getByRole<HTMLSelectElement>('combobox', { name: 'Thread' });
  expect(choice.selectedOptions[0]?.textContent).toBe('#1500 (crashed)');
  expect(choice.options).toHaveLength(100);
  await userEvent.click(screen.getByRole('button', { name: 'Show 100 more of 2,000 threads' }));
  expect(choice.options).toHaveLength(200);
  expect(choice.selectedOptions[0]?.textContent).toBe('#1500 (crashed)');
  await userEvent.selectOptions(choice, '#1430');
  expect(choice.selectedOptions[0]?.textContent).toBe('#1430');
});

test('any number of envelope items is shown by the hundred', async () => {
  const items = many((index) => ({ index, type: 'log', size_bytes: 1, header: {} }));
  render(<EnvelopeView entry={entry(1, { items })} />);
  const list = screen.getByRole('list', { name: 'Envelope items' });
  expect(within(list).getAllByRole('listitem')).toHaveLength(100);
  await userEvent.click(screen.getByRole('button', { name: 'Show 100 more of 2,000 items' }));
  expect(within(list).getAllByRole('listitem')).toHaveLength(200);
});
