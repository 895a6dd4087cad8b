import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { fetchEvents } from '../../api/client';
import { openStream, type StreamOptions } from '../../api/stream';
import { NO_FILTERS, type EventPage, type Filters, type Summary } from '../../api/types';
import { summary } from '../../fixtures/generate';
import { EventFeed } from './eventFeed';

vi.mock('../../api/client', async (original) => ({
  ...(await original<typeof import('../../api/client')>()),
  fetchEvents: vi.fn(),
}));
vi.mock('../../api/stream', () => ({ openStream: vi.fn() }));

let kept: Summary[] = [];
let store: string;
let stream: StreamOptions | null = null;
const feed = new EventFeed();

function page(filters: Filters, before: number | null, limit: number): EventPage {
  const matching = kept
    .filter((one) => one.title.includes(filters.q))
    .filter((one) => filters.level === '' || one.level === filters.level)
    .toSorted((a, b) => b.id - a.id);
  const older = matching.filter((one) => before === null || one.id < before);
  const events = older.slice(0, limit);
  const next = older.length > limit ? (events.at(-1)?.id ?? null) : null;
  return { events, total: matching.length, next, repeats: {}, store };
}

beforeEach(() => {
  vi.useFakeTimers();
  store = 'one';
  kept = Array.from({ length: 700 }, (_, index) => summary(index + 1, { level: 'error' }));
  vi.mocked(fetchEvents).mockImplementation((filters, before, limit) =>
    Promise.resolve(page(filters, before, limit)),
  );
  vi.mocked(openStream).mockImplementation((options) => {
    stream = options;
    return () => {
      stream = null;
    };
  });
  feed.setAtTop(true);
});

afterEach(() => {
  feed.close();
  vi.useRealTimers();
});

async function arrive(...summaries: Summary[]) {
  const known = new Set(kept.map((one) => one.id));
  kept.push(...summaries.filter((one) => !known.has(one.id)));
  for (const one of summaries) stream?.onSummary(one);
  await vi.advanceTimersByTimeAsync(2_000);
}

const ids = () => feed.getSnapshot().rows.map((row) => row.id);

test('pages follow each other without a gap or an overlap', async () => {
  await feed.open(NO_FILTERS);
  expect(ids()).toHaveLength(100);
  await feed.loadMore();
  await feed.loadMore();
  await feed.loadMore();
  expect(ids()).toEqual(Array.from({ length: 700 }, (_, index) => 700 - index));
  expect(feed.getSnapshot().next).toBeNull();
});

test('the stream starts after the first page', async () => {
  await feed.open(NO_FILTERS);
  expect(stream?.lastId).toBe(700);
});

test('with filters, the stream starts after the newest of all entries', async () => {
  await feed.open({ ...NO_FILTERS, level: 'fatal' });
  expect(ids()).toEqual([]);
  expect(stream?.lastId).toBe(700);
});

test('new entries are added at the top, newest first, and once', async () => {
  await feed.open(NO_FILTERS);
  await arrive(summary(700), summary(701), summary(702));
  await arrive(summary(702));
  expect(ids().slice(0, 3)).toEqual([702, 701, 700]);
  expect(feed.getSnapshot().total).toBe(702);
});

test('new entries wait while the user has scrolled down', async () => {
  await feed.open(NO_FILTERS);
  feed.setAtTop(false);
  await arrive(summary(701));
  await arrive(summary(702));
  expect(ids()[0]).toBe(700);
  expect(feed.getSnapshot().pending.map((one) => one.id)).toEqual([702, 701]);
  feed.setAtTop(true);
  expect(ids().slice(0, 3)).toEqual([702, 701, 700]);
  expect(feed.getSnapshot().pending).toEqual([]);
});

test('new entries are filtered', async () => {
  await feed.open({ ...NO_FILTERS, level: 'error' });
  await arrive(summary(701, { level: 'info' }), summary(702, { level: 'error' }));
  expect(ids().slice(0, 2)).toEqual([702, 700]);
});

test('during a text search, the server filters new entries', async () => {
  await feed.open({ ...NO_FILTERS, q: 'needle' });
  await arrive(summary(701, { title: 'hay' }), summary(702, { title: 'a needle' }));
  expect(ids()).toEqual([702]);
});

test('an outdated search result is dropped', async () => {
  let answerFirst: (page: EventPage) => void = () => undefined;
  vi.mocked(fetchEvents).mockImplementationOnce(
    () =>
      new Promise((resolve) => {
        answerFirst = resolve;
      }),
  );
  const first = feed.open(NO_FILTERS);
  await feed.open({ ...NO_FILTERS, level: 'fatal' });
  answerFirst(page(NO_FILTERS, null, 100));
  await first;
  expect(ids()).toEqual([]);
});

test('after a restart of the server, the list is reloaded', async () => {
  await feed.open(NO_FILTERS);
  kept = [summary(1), summary(2)];
  stream?.onRestart();
  await vi.advanceTimersByTimeAsync(0);
  expect(ids()).toEqual([2, 1]);
  expect(stream?.lastId).toBe(2);
});

test('a failure to load shows the reason', async () => {
  vi.mocked(fetchEvents).mockRejectedValueOnce(new TypeError('fetch failed'));
  await feed.open(NO_FILTERS);
  const { phase, failure, connection } = feed.getSnapshot();
  expect([phase, connection]).toEqual(['failed', 'disconnected']);
  expect(failure).toMatch(/Lost connection/);
});

const evict = (oldest: number) => {
  kept = kept.filter((one) => one.id >= oldest);
};

test("the count is the server's, and evicted rows are removed", async () => {
  await feed.open(NO_FILTERS);
  while (feed.getSnapshot().next !== null) await feed.loadMore();
  evict(4);
  await arrive(summary(701), summary(702));
  expect(feed.getSnapshot().total).toBe(699);
  expect(ids()).toHaveLength(699);
  expect(ids().at(-1)).toBe(4);
});

test('evicted waiting entries and rows are removed', async () => {
  await feed.open(NO_FILTERS);
  feed.setAtTop(false);
  evict(701);
  await arrive(...Array.from({ length: 30 }, (_, index) => summary(701 + index)));
  expect(ids()).toEqual([]);
  evict(711);
  await arrive(summary(731));
  expect(feed.getSnapshot().pending).toHaveLength(21);
  expect(feed.getSnapshot().total).toBe(21);
});

test("with filters, too, the count is the server's", async () => {
  await feed.open({ ...NO_FILTERS, level: 'error' });
  evict(691);
  await arrive(summary(701, { level: 'info' }));
  expect(feed.getSnapshot().total).toBe(10);
  expect(ids()).toHaveLength(10);
  evict(701);
  await arrive(summary(702, { level: 'info' }));
  expect(feed.getSnapshot().total).toBe(0);
  expect(ids()).toEqual([]);
});

test("entries that arrive after the server's count are added to it", async () => {
  await feed.open(NO_FILTERS);
  let answer: () => void = () => undefined;
  vi.mocked(fetchEvents).mockImplementationOnce((filters, before, limit) => {
    const counted = page(filters, before, limit);
    return new Promise((resolve) => {
      answer = () => {
        resolve(counted);
      };
    });
  });
  await arrive(summary(701));
  stream?.onSummary(summary(702));
  await vi.advanceTimersByTimeAsync(200);
  answer();
  await vi.advanceTimersByTimeAsync(0);
  expect(feed.getSnapshot().total).toBe(702);
  expect(ids().slice(0, 3)).toEqual([702, 701, 700]);
});

test('a row that was removed too early is requested again', async () => {
  await feed.open(NO_FILTERS);
  while (feed.getSnapshot().next !== null) await feed.loadMore();
  // It counts before it looks: what arrives in between is missing from the count.
  vi.mocked(fetchEvents).mockImplementationOnce((filters, before, limit) =>
    Promise.resolve({ ...page(filters, before, limit), total: 700 }),
  );
  await arrive(summary(701));
  expect(ids()).toHaveLength(700);
  await feed.loadMore();
  expect(ids()).toHaveLength(701);
  expect(feed.getSnapshot()).toMatchObject({ total: 701, next: null });
});

test.each([
  ['the next page', () => feed.loadMore()],
  [
    'the count',
    async () => {
      stream?.onSummary(summary(701));
      await vi.advanceTimersByTimeAsync(2_000);
    },
  ],
  [
    'another response',
    () => {
      feed.noteStore('new');
      return Promise.resolve();
    },
  ],
])('another store in %s is a restart', async (_, ask) => {
  store = 'old';
  await feed.open(NO_FILTERS);
  expect(stream?.store).toBe('old');
  const { restarts } = feed.getSnapshot();
  feed.noteStore('old');
  feed.noteStore(undefined);
  expect(feed.getSnapshot().restarts).toBe(restarts);
  store = 'new';
  kept = Array.from({ length: 9 }, (_, index) => summary(index + 1));
  await ask();
  await vi.advanceTimersByTimeAsync(0);
  expect(ids()).toEqual([9, 8, 7, 6, 5, 4, 3, 2, 1]);
  expect(feed.getSnapshot().restarts).toBe(restarts + 1);
  expect(stream?.store).toBe('new');
});

test('two signs of one restart during a reload count once', async () => {
  store = 'old';
  await feed.open(NO_FILTERS);
  const { restarts } = feed.getSnapshot();
  store = 'new';
  await feed.open({ ...NO_FILTERS, level: 'error' });
  expect(feed.getSnapshot().restarts).toBe(restarts + 1);
});

test('in a grouped list, a new event replaces the row of its issue', async () => {
  const grouped = { ...NO_FILTERS, isGrouped: true };
  let count = 1;
  vi.mocked(fetchEvents).mockImplementation(() =>
    Promise.resolve({
      events: [summary(count)],
      total: 1,
      next: null,
      repeats: { [count]: count },
      store,
    }),
  );
  await feed.open(grouped);
  expect(feed.getSnapshot().repeats).toEqual({ 1: 1 });
  count = 2;
  stream?.onSummary(summary(2));
  await vi.advanceTimersByTimeAsync(2_000);
  const { rows, repeats } = feed.getSnapshot();
  expect([rows.map(({ id }) => id), repeats]).toEqual([[2], { 2: 2 }]);
});

test('after a pause a new entry is drawn at once, and further ones together', async () => {
  await feed.open(NO_FILTERS);
  for (const id of [701, 702, 703]) {
    stream?.onSummary(summary(id));
    if (id === 701) await vi.advanceTimersByTimeAsync(1);
  }
  expect(feed.getSnapshot().rows[0]?.id).toBe(701);
  await vi.advanceTimersByTimeAsync(120);
  expect(feed.getSnapshot().rows[0]?.id).toBe(703);
});
