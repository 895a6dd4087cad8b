import { act, render, screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { entry, summary } from '../fixtures/generate';
import { hostileEvent, SCRIPT } from '../fixtures/hostile';
import python from '../fixtures/python.json?raw';
import { App } from './App';

const KEPT = Array.from({ length: 30 }, (_, index) => summary(30 - index));
const DEAD = {
  reason: 'refused',
  detail: 'upstream answered 413',
  group: 'orders',
  topic: 'ingest-events',
  partition: 3,
  offset: 18_231,
};

const STATUS = {
  version: '1',
  store: 'aa',
  source: { kind: 'demo', name: 'embedded', problem: null },
  counts: { accepted: 30, kept: 30, kept_bytes: 99 },
  coverage: false,
  dsn: 'http://key@127.0.0.1:4100/1',
};

const EVENT_30 = '1e'.padStart(32, '0');
const LINK_30 = `#/event/${EVENT_30}/aa-30`;

const TRANSACTION = { type: 'transaction', level: null };

let requested: string[] = [];
let answers: Record<string, () => Response | Promise<Response>> = {};
let stream: () => Promise<Response>;

function json(body: unknown, status = 200): Response {
  return new Response(JSON.stringify(body), { status });
}

function usualAnswers(): typeof answers {
  return {
    '/api/status': () => json(STATUS),
    '/api/events': () => json({ events: KEPT, total: 30, next: null, repeats: {}, store: 'aa' }),
    '/api/events/30': () => json(entry(30)),
    '/api/events/30/items/0': () => new Response(python),
    '/api/lookup/0000000000000000000000000000001e': () => json({ id: 30 }),
  };
}

beforeEach(() => {
  requested = [];
  answers = usualAnswers();
  stream = () => new Promise<Response>(() => undefined);
  window.location.hash = '';
  // jsdom draws nothing: without a height, the virtual list would hold no rows.
  vi.spyOn(Element.prototype, 'clientHeight', 'get').mockReturnValue(800);
  vi.spyOn(Element.prototype, 'clientWidth', 'get').mockReturnValue(400);
  vi.stubGlobal('fetch', (path: string) => {
    requested.push(path);
    if (path === '/api/stream') return stream();
    const answer = answers[path.split('?', 1)[0] ?? ''];
    return Promise.resolve(answer?.() ?? json({ detail: 'This entry is gone.' }, 404));
  });
});

afterEach(() => {
  vi.unstubAllGlobals();
});

async function open(hash = '') {
  window.location.hash = hash;
  await act(async () => {
    render(<App />);
    return Promise.resolve();
  });
}

const list = () => screen.findByRole('listbox', { name: 'Events' });

test('the list shows stored entries, as many rows as fit', async () => {
  await open();
  const rows = await within(await list()).findAllByRole('option');
  expect(rows[0]?.textContent).toContain(KEPT[0]?.title);
  expect(rows.length).toBeLessThan(30);
  expect(rows[0]?.getAttribute('aria-setsize')).toBe('30');
  expect(screen.getByTestId('event-count').textContent).toBe('30 events');
});

test('a row names each item type once, however many items there are', async () => {
  const types = Array.from({ length: 10_000 }, (_, index) => (index % 2 === 0 ? 'log' : 'event'));
  const many = Array.from({ length: 10_000 }, (_, index) => `type ${index}`);
  const events = [
    summary(2, { culprit: '', item_types: types }),
    summary(1, { culprit: '', item_types: many }),
  ];
  answers['/api/events'] = () => json({ events, total: 2, next: null, repeats: {}, store: 'aa' });
  await open();
  const rows = await within(await list()).findAllByRole('option');
  const shown = rows.map((row) => row.querySelector('.event-culprit')?.textContent);
  expect(shown[0]).toBe('log, event · python · project 1');
  expect(shown[1]?.length).toBeLessThan(200);
});

test('a row names culprit, platform and project, and nothing twice', async () => {
  const events = [
    summary(2, { title: '/pay', culprit: '/pay', platform: null, project: '7' }),
    summary(1, { title: 'KeyError', culprit: 'cart.total' }),
  ];
  answers['/api/events'] = () => json({ events, total: 2, next: null, repeats: {}, store: 'aa' });
  await open();
  const rows = await within(await list()).findAllByRole('option');
  const shown = rows.map((row) => row.querySelector('.event-culprit')?.textContent);
  expect(shown).toEqual(['project 7', 'cart.total · python · project 1']);
});

test('a row shows the level as an icon and a word before the title', async () => {
  const title = 'checkout: low stock';
  const events = [summary(2, { level: 'info', title }), summary(1, { level: null, title })];
  answers['/api/events'] = () => json({ events, total: 2, next: null, repeats: {}, store: 'aa' });
  await open();
  const rows = await within(await list()).findAllByRole('option');
  const titles = rows.map((row) => row.querySelector('.event-title'));
  expect(titles.map((shown) => shown?.textContent)).toEqual([`INFO ${title}`, title]);
  expect(titles.map((shown) => shown?.querySelectorAll('svg').length)).toEqual([1, 0]);
});

test('arrow keys move the selection and update the address', async () => {
  await open();
  const user = userEvent.setup();
  (await list()).focus();
  await user.keyboard('{ArrowDown}');
  await within(await list()).findByRole('option', { selected: true });
  expect(window.location.hash).toBe(LINK_30);
  await user.keyboard('{ArrowDown}{ArrowDown}{ArrowUp}');
  expect(window.location.hash).toBe(`#/event/${EVENT_30.slice(0, -1)}d/aa-29`);
  await waitFor(async () => {
    expect((await list()).getAttribute('aria-activedescendant')).toBe('event-29');
  });
  await user.keyboard('{Home}{Enter}');
  expect(document.activeElement).toBe(screen.getByRole('main'));
});

test('an address opens its event', async () => {
  await open(LINK_30);
  await screen.findByRole('heading', { level: 2, name: KEPT[0]?.title ?? '' });
  await screen.findByRole('heading', { name: 'Exceptions' });
  expect(screen.getByTestId('origin').textContent).toContain(
    'ingest-events partition 2 offset 1030',
  );
});

test('an address may contain an event id', async () => {
  await open('#/events/0000000000000000000000000000001E');
  await screen.findByRole('heading', { name: 'Exceptions' });
});

test('an evicted entry has a message', async () => {
  await open(`#/event/${EVENT_30}/aa-999`);
  expect((await screen.findByRole('alert')).textContent).toBe('This entry is gone.');
});

test('an address with the entry of another store opens the event of its event id', async () => {
  await open(`#/event/${EVENT_30}/other-7`);
  await screen.findByRole('heading', { name: 'Exceptions' });
  expect(requested).not.toContain('/api/events/7?store=aa');
});

test.each([
  [`#/event/${'b'.repeat(32)}/other-30`, 'This event is not stored'],
  [`#/event/${'b'.repeat(32)}`, 'This event is not stored'],
  ['#/entry/other-30', 'This entry is no longer stored'],
  ['#/events/30', 'This entry is no longer stored'],
])('the address %s opens no other event', async (hash, message) => {
  await open(hash);
  await screen.findByText(message, { exact: false });
  expect(requested.filter((path) => path.startsWith('/api/events/'))).toEqual([]);
});

test('an entry without an event id has an address, too', async () => {
  const events = [summary(30, { event_id: null })];
  answers['/api/events'] = () => json({ events, total: 1, next: null, repeats: {}, store: 'aa' });
  await open();
  (await list()).focus();
  await userEvent.keyboard('{ArrowDown}');
  expect(window.location.hash).toBe('#/entry/aa-30');
  await screen.findByRole('heading', { name: 'Exceptions' });
});

test('the JSON shows 64-bit integers exactly as sent', async () => {
  await open(LINK_30);
  const user = userEvent.setup();
  await user.click(await screen.findByRole('tab', { name: 'JSON' }));
  await user.click(screen.getByRole('button', { name: 'Copy event' }));
  expect(await navigator.clipboard.readText()).toContain('"ledger_sequence": 18446744073709551615');
});

test('the envelope lists its items with sizes and downloads', async () => {
  await open(LINK_30);
  await userEvent.click(await screen.findByRole('tab', { name: 'Envelope' }));
  const [item] = within(screen.getByRole('list', { name: 'Envelope items' })).getAllByRole(
    'listitem',
  );
  expect(item?.textContent).toContain('4.0 KiB');
  const link = screen.getByRole('link', { name: 'Download item 0' });
  expect(link.getAttribute('href')).toBe('/api/events/30/items/0?store=aa');
});

const LOG = {
  timestamp: 1_770_800_000.5,
  level: 'warn',
  body: '<b>low stock</b>',
  attributes: { shop: { value: 'Basel', type: 'string' } },
};

test('logs are a table, and a click on a message shows its attributes', async () => {
  const items = [{ index: 0, type: 'log', size_bytes: 99, header: {} }];
  answers['/api/events/30'] = () => json(entry(30, { event: null, items }));
  answers['/api/events/30/items/0'] = () => json({ items: [LOG, { ...LOG, body: 'sold' }] });
  await open(LINK_30);
  const table = await screen.findByRole('table');
  const rows = within(table).getAllByRole('row').slice(1);
  expect(rows.map((row) => row.lastElementChild?.textContent)).toEqual([LOG.body, 'sold']);
  expect(rows[0]?.textContent).toContain('WARNING');
  expect(table.textContent).not.toContain('Basel');
  await userEvent.click(within(table).getByRole('button', { name: 'sold' }));
  expect(rows[1]?.textContent).toContain('Basel');
  screen.getByRole('tab', { name: 'Envelope', selected: false });
});

test.each([
  ['is not a valid log', { size_bytes: 99 }],
  ['is too large to show (2.0 MiB)', { size_bytes: 2 * 1024 * 1024 }],
])('a log item that %s can be downloaded', async (reason, item) => {
  const items = [{ index: 0, type: 'log', header: {}, ...item }];
  answers['/api/events/30'] = () => json(entry(30, { event: null, items }));
  answers['/api/events/30/items/0'] = () => json({ items: 'x' });
  await open(LINK_30);
  await screen.findByText(`Item 0 ${reason}`, { exact: false });
});

test('a dead letter shows its reason', async () => {
  answers['/api/events/30'] = () =>
    json(entry(30, { summary: summary(30, { dead_letter: DEAD }) }));
  await open(LINK_30);
  const notice = await screen.findByRole('region', { name: 'Dead letter' });
  expect(notice.textContent).toContain('Dead letter: refused');
  expect(notice.textContent).toContain('upstream answered 413');
  expect(notice.textContent).toContain('ingest-events partition 3 offset 18231');
});

test('an undecodable message shows the reason and its first bytes', async () => {
  const undecodable = { error: 'the header is not JSON', hex_preview: 'de ad be ef' };
  answers['/api/events/30'] = () => json(entry(30, { items: [], event: null, undecodable }));
  await open(LINK_30);
  await screen.findByText('the header is not JSON');
  screen.getByText(/^0000 de ad be ef \.{4}$/);
});

test('an event that is not valid JSON leaves the rest of its entry readable', async () => {
  answers['/api/events/30/items/0'] = () => new Response('{"broken": ');
  await open(LINK_30);
  expect((await screen.findByRole('alert')).textContent).toContain('Not valid JSON');
  screen.getByRole('tab', { name: 'Envelope' });
});

test('the trace of a transaction is drawn before its event is loaded', async () => {
  const span = { entry: 30, span_id: 'a', op: 'db', name: 'SELECT', start: 1, end: 2, status: '' };
  const trace = {
    store: 'aa',
    trace_id: null,
    entries: {},
    is_complete: true,
    spans: [{ ...span, parent: '', is_segment: true }],
    marks: [],
    total_spans: 1,
    total_marks: 0,
  };
  answers['/api/events/30'] = () => json(entry(30, { summary: summary(30, TRANSACTION) }));
  answers['/api/events/30/trace'] = () => json(trace);
  let send: (payload: Response) => void = () => undefined;
  answers['/api/events/30/items/0'] = () =>
    new Promise<Response>((resolve) => {
      send = resolve;
    });
  await open(LINK_30);
  await screen.findByText('1 span, 0 entries');
  await userEvent.click(screen.getByRole('tab', { name: 'Event' }));
  screen.getByText('Loading the event …');
  send(new Response('{"type":"transaction","tags":{"shop":"Basel"}}'));
  await screen.findByText('Basel');
});

test('a search is sent to the server and kept in the address', async () => {
  await open();
  await userEvent.type(screen.getByRole('searchbox', { name: 'Search events' }), 'needle');
  await waitFor(() => {
    expect(requested.some((path) => path.includes('q=needle'))).toBe(true);
  });
  expect(window.location.hash).toBe('#/events?q=needle');
  expect(requested.filter((path) => path.includes('q=n')).length).toBeLessThan(3);
});

test('filters are sent to the server and can be cleared', async () => {
  await open();
  answers['/api/events'] = () =>
    json({ events: [], total: 0, next: null, repeats: {}, store: 'aa' });
  await userEvent.selectOptions(screen.getByRole('combobox', { name: 'Level' }), 'fatal');
  await userEvent.click(screen.getByRole('button', { name: 'Dead letters' }));
  await screen.findByText('No matching events');
  expect(requested.some((path) => path.includes('level=fatal') && path.includes('dead=1'))).toBe(
    true,
  );
  await userEvent.click(screen.getByRole('button', { name: 'Clear filters' }));
  expect(window.location.hash).toBe('#/events');
});

test('without events, the page explains how to send one', async () => {
  answers['/api/events'] = () =>
    json({ events: [], total: 0, next: null, repeats: {}, store: 'aa' });
  await open();
  await screen.findByText('No events yet');
  await screen.findByText('http://key@127.0.0.1:4100/1');
});

test("a server's error is shown, and the request can be repeated", async () => {
  answers['/api/events'] = () => json({ detail: 'The store is being rebuilt.' }, 503);
  await open();
  await screen.findByText('The store is being rebuilt.');
  answers = usualAnswers();
  await userEvent.click(screen.getByRole('button', { name: 'Try again' }));
  await list();
});

test('hostile content is text everywhere: no element, no link, no invisible character', async () => {
  answers['/api/events/30/items/0'] = () => json(hostileEvent);
  await open(LINK_30);
  await screen.findByRole('heading', { name: 'Exception' });
  const page = document.body;
  expect(page.querySelector('script')).toBeNull();
  expect(page.textContent).toContain(SCRIPT);
  expect(page.textContent).not.toMatch(/[\u202e\u0000\u200b]/);
  const links = [...page.querySelectorAll('a')].map((link) => link.getAttribute('href'));
  expect(links).toEqual(['#entry']);
});

test.each([
  [
    'the stream',
    () => {
      stream = () => Promise.resolve(new Response('event: store\ndata: "new"\n\n'));
    },
  ],
  [
    'the status',
    () => {
      answers['/api/status'] = () => json({ ...STATUS, store: 'new' });
    },
  ],
])(
  'after a restart noticed by %s, the list is new and the open event is searched',
  async (_, tell) => {
    const lists = ['old', 'old', 'new'];
    answers['/api/events'] = () => {
      const store = lists.shift() ?? 'new';
      const title = `of the ${store} store`;
      return json({ events: [summary(30, { title })], total: 1, next: null, repeats: {}, store });
    };
    answers[`/api/lookup/${EVENT_30}`] = () => json({ detail: 'event not found' }, 404);
    tell();
    const hash = `#/event/${EVENT_30}/old-30?level=error`;
    await open(hash);
    await within(await list()).findByText('of the new store');
    await screen.findByText('This event is not stored', { exact: false });
    expect(window.location.hash).toBe(hash);
    expect(requested).not.toContain('/api/events/30?store=new');
  },
);

test('a failed source shows the reason', async () => {
  const source = { kind: 'topic', name: 'events', problem: 'the topic was deleted' };
  answers['/api/status'] = () => json({ ...STATUS, source });
  await open();
  const banner = await screen.findByRole('alert');
  expect(banner.textContent).toBe('The source has failed: the topic was deleted');
});

test('the theme is stored', async () => {
  await open();
  await userEvent.click(screen.getByRole('button', { name: 'Theme: system. Switch to light' }));
  await userEvent.click(screen.getByRole('button', { name: 'Theme: light. Switch to dark' }));
  expect(document.documentElement.dataset.theme).toBe('dark');
  expect(window.localStorage.getItem('inspector-theme')).toBe('dark');
  await userEvent.click(screen.getByRole('button', { name: 'Theme: dark. Switch to system' }));
  expect(window.localStorage.getItem('inspector-theme')).toBeNull();
});
