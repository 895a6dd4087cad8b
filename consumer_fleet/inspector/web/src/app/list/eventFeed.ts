import { describeFailure, fetchEvents } from '../../api/client';
import { openStream, type Connection } from '../../api/stream';
import {
  NO_FILTERS,
  type EventPage,
  type Filters,
  type StoreId,
  type Summary,
} from '../../api/types';

export interface FeedSnapshot {
  phase: 'loading' | 'ready' | 'failed';
  failure: string | null;
  filters: Filters;
  /** Newest first. */
  rows: Summary[];
  /** New entries that wait until the reader is at the top again, newest first. */
  pending: Summary[];
  total: number;
  /** Ask for what is older than this; null where nothing is. */
  next: number | null;
  isLoadingMore: boolean;
  connection: Connection;
  /** How often the server has begun anew: each time, ids of entries mean others. */
  restarts: number;
}

const FIRST_PAGE = 100;
const PAGE = 500;
const MAX_ROWS = 50_000;
// Entries arrive one by one, in thousands: the page is drawn at most this often for them.
const FLUSH_MS = 120;
// What arrives makes room for itself: how many match is asked for again, at most this often.
const COUNT_AGAIN_MS = 1_000;

const EMPTY: FeedSnapshot = {
  phase: 'loading',
  failure: null,
  filters: NO_FILTERS,
  rows: [],
  pending: [],
  total: 0,
  next: null,
  isLoadingMore: false,
  connection: 'connecting',
  restarts: 0,
};

/** The list of entries: pages of what is kept, and what arrives while it is open. */
export class EventFeed {
  #snapshot = EMPTY;
  readonly #listeners = new Set<() => void>();
  #loading = new AbortController();
  #closeStream: (() => void) | null = null;
  #arrived: Summary[] = [];
  #flushTimer: ReturnType<typeof setTimeout> | null = null;
  #countTimer: ReturnType<typeof setTimeout> | null = null;
  #isReaderAtTop = true;
  /** Whose entries these are; null until a server says. */
  #store: StoreId | null = null;
  /** How many matched when the server was asked last, the newest of them included. */
  #counted = { total: 0, newestId: 0 };

  readonly getSnapshot = (): FeedSnapshot => this.#snapshot;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  };

  /** Load the first page anew, then follow what arrives behind it. */
  async open(filters: Filters): Promise<void> {
    this.close();
    const loading = new AbortController();
    this.#loading = loading;
    const { connection, restarts } = this.#snapshot;
    this.#update({ ...EMPTY, filters, connection, restarts });
    try {
      const { page, newestId, store } = await loadFirst(filters, loading.signal);
      // A later call of open() or close() may have taken over meanwhile.
      if (loading.signal.aborted) return;
      const isOther = this.#isOther(store);
      this.#store = store ?? null;
      this.#counted = { total: page.total, newestId: page.events[0]?.id ?? newestId };
      this.#show([], page.events, page.next);
      this.#update({ phase: 'ready', restarts: restarts + (isOther ? 1 : 0) });
      this.#follow(newestId);
    } catch (error) {
      if (loading.signal.aborted) return;
      this.#update({
        phase: 'failed',
        failure: describeFailure(error),
        connection: 'disconnected',
      });
    }
  }

  close(): void {
    this.#loading.abort();
    this.#closeStream?.();
    this.#closeStream = null;
    if (this.#flushTimer !== null) clearTimeout(this.#flushTimer);
    this.#flushTimer = null;
    if (this.#countTimer !== null) clearTimeout(this.#countTimer);
    this.#countTimer = null;
    this.#arrived = [];
  }

  /** Begin anew where `store`, of any answer of the server, is not that of the entries. */
  noteStore(store: StoreId | undefined): void {
    if (this.#isOther(store)) this.#restart();
  }

  /** Append the next older page; does nothing while one is on its way. */
  async loadMore(): Promise<void> {
    const { next, isLoadingMore, filters, phase } = this.#snapshot;
    if (next === null || isLoadingMore || phase !== 'ready') return;
    const { signal } = this.#loading;
    const newestId = this.#newestId();
    this.#update({ isLoadingMore: true });
    try {
      const page = await fetchEvents(filters, next, PAGE, signal);
      if (signal.aborted) return;
      if (this.#isOther(page.store)) {
        this.#restart();
        return;
      }
      const { pending, rows } = this.#snapshot;
      this.#counted = { total: page.total, newestId };
      this.#show(pending, [...rows, ...page.events], page.next, Infinity);
      this.#update({ isLoadingMore: false });
    } catch {
      // The list stays as it is, and asks again when it is scrolled to its end again.
      if (!signal.aborted) this.#update({ isLoadingMore: false });
    }
  }

  /** While the reader is further down, new entries wait: rows must not move under a pointer. */
  setReaderAtTop(isAtTop: boolean): void {
    this.#isReaderAtTop = isAtTop;
    if (isAtTop) this.showPending();
  }

  showPending(): void {
    const { pending, rows, next } = this.#snapshot;
    if (pending.length > 0) this.#show([], [...pending, ...rows], next);
  }

  #follow(lastId: number): void {
    this.#closeStream = openStream({
      lastId,
      store: this.#store,
      onSummary: (summary) => {
        this.#arrived.push(summary);
        // Only the server can tell what a text search finds.
        if (this.#snapshot.filters.q === '') {
          this.#flushTimer ??= setTimeout(() => {
            this.#flush();
          }, FLUSH_MS);
        }
        this.#countTimer ??= setTimeout(() => {
          void this.#countAgain();
        }, COUNT_AGAIN_MS);
      },
      onConnection: (connection) => {
        this.#update({ connection });
      },
      onRestart: () => {
        this.#restart();
      },
    });
  }

  #isOther(store: StoreId | undefined): boolean {
    return store !== undefined && this.#store !== null && store !== this.#store;
  }

  #restart(): void {
    this.#store = null;
    this.#update({ restarts: this.#snapshot.restarts + 1 });
    void this.open(this.#snapshot.filters);
  }

  #flush(): void {
    this.#flushTimer = null;
    const { filters } = this.#snapshot;
    this.#add(this.#takeArrived().filter((summary) => isWanted(summary, filters)));
  }

  #takeArrived(): Summary[] {
    const arrived = this.#arrived.reverse();
    this.#arrived = [];
    return arrived;
  }

  /** Ask how many match now, and during a text search which of what has arrived do. */
  async #countAgain(): Promise<void> {
    this.#countTimer = null;
    const { filters } = this.#snapshot;
    const { signal } = this.#loading;
    const newestId = this.#newestId();
    const limit = filters.q === '' ? 1 : Math.min(this.#takeArrived().length, 1_000);
    let page: EventPage;
    try {
      page = await fetchEvents(filters, null, limit, signal);
    } catch {
      return;
    }
    if (signal.aborted) return;
    if (this.#isOther(page.store)) {
      this.#restart();
      return;
    }
    this.#counted = { total: page.total, newestId: page.events[0]?.id ?? newestId };
    this.#add(filters.q === '' ? [] : page.events);
  }

  #newestId(): number {
    const { pending, rows } = this.#snapshot;
    return pending[0]?.id ?? rows[0]?.id ?? 0;
  }

  #add(summaries: Summary[]): void {
    const { rows, pending, next } = this.#snapshot;
    const newestId = this.#newestId();
    const added = summaries.filter((summary) => summary.id > newestId);
    if (this.#isReaderAtTop) this.#show([], [...added, ...pending, ...rows], next);
    else this.#show([...added, ...pending], rows, next);
  }

  /** Rows that the server no longer has, the oldest, are dropped. */
  #show(pending: Summary[], rows: Summary[], next: number | null, maxRows = MAX_ROWS): void {
    const { total: counted, newestId } = this.#counted;
    const total = counted + newerThan(newestId, pending) + newerThan(newestId, rows);
    const limit = Math.min(total, maxRows);
    const waiting = pending.slice(0, limit);
    const kept = rows.slice(0, limit - waiting.length);
    const oldest = kept.at(-1) ?? waiting.at(-1);
    this.#update({
      pending: waiting,
      rows: kept,
      total,
      // The server may have counted before it looked: what was cut is asked for again.
      next: kept.length < rows.length ? (oldest?.id ?? null) : next,
    });
  }

  #update(change: Partial<FeedSnapshot>): void {
    this.#snapshot = { ...this.#snapshot, ...change };
    for (const listener of this.#listeners) listener();
  }
}

interface FirstPage {
  page: EventPage;
  /** Of all entries: what is followed begins behind that one. */
  newestId: number;
  /** Whose entry that is. Where the page is of another, the stream will say so. */
  store: StoreId | undefined;
}

async function loadFirst(filters: Filters, signal: AbortSignal): Promise<FirstPage> {
  // The newest first: what arrives between the two requests is then seen twice, not missed.
  const all = await fetchEvents(NO_FILTERS, null, isFiltered(filters) ? 1 : FIRST_PAGE, signal);
  const page = isFiltered(filters) ? await fetchEvents(filters, null, FIRST_PAGE, signal) : all;
  return { page, newestId: all.events[0]?.id ?? 0, store: all.store };
}

function newerThan(id: number, newestFirst: Summary[]): number {
  const index = newestFirst.findIndex((summary) => summary.id <= id);
  return index < 0 ? newestFirst.length : index;
}

export function isFiltered({ q, type, level, isDeadOnly }: Filters): boolean {
  return q !== '' || type !== '' || level !== '' || isDeadOnly;
}

function isWanted(summary: Summary, { type, level, isDeadOnly }: Filters): boolean {
  return (
    (type === '' || summary.type === type) &&
    (level === '' || summary.level === level) &&
    (!isDeadOnly || summary.dead_letter !== null)
  );
}
