import { describeFailure, fetchEvents } from '../../api/client';
import { openStream, type Connection } from '../../api/stream';
import {
  EXACT_FILTERS,
  NO_FILTERS,
  type ExactFilter,
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
  /** New entries, shown when the user is at the top again, newest first. */
  pending: Summary[];
  total: number;
  /** Request entries older than this one; null if there are none. */
  next: number | null;
  isLoadingMore: boolean;
  connection: Connection;
  /** The store of the entries; null until the server names it. */
  store: StoreId | null;
  /** In a grouped list, how many events each row stands for, by its id. */
  repeats: Record<string, number>;
  /** How often the server has restarted or was cleared; entry ids are not valid afterwards. */
  restarts: number;
}

const FIRST_PAGE = 100;
const PAGE = 500;
const MAX_ROWS = 50_000;
// Thousands of entries may arrive one by one: draw the page at most this often.
const FLUSH_MS = 120;
// Arriving entries evict others: request the number of matches again, at most this often.
const RECOUNT_MS = 1_000;

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
  store: null,
  repeats: {},
  restarts: 0,
};

/** The list of entries: pages of stored ones, and new ones while it is open. */
export class EventFeed {
  #snapshot = EMPTY;
  readonly #listeners = new Set<() => void>();
  #loading = new AbortController();
  #closeStream: (() => void) | null = null;
  #arrived: Summary[] = [];
  #flushTimer: ReturnType<typeof setTimeout> | null = null;
  /** A single entry after a pause is drawn at once. */
  #flushedAt = 0;
  #countTimer: ReturnType<typeof setTimeout> | null = null;
  #isAtTop = true;
  /** The store of these entries; null until the server names it. */
  #store: StoreId | null = null;
  /** The number of matches in the server's last response, and the newest entry counted. */
  #counted = { total: 0, newestId: 0 };

  readonly getSnapshot = (): FeedSnapshot => this.#snapshot;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  };

  /** Load the first page, then follow new entries. */
  async open(filters: Filters): Promise<void> {
    this.close();
    const loading = new AbortController();
    this.#loading = loading;
    const { connection, restarts } = this.#snapshot;
    this.#update({ ...EMPTY, filters, connection, restarts, store: this.#store });
    try {
      const { page, newestId, store } = await loadFirst(filters, loading.signal);
      // open() or close() may have been called in the meantime.
      if (loading.signal.aborted) return;
      const isOther = this.#isOther(store);
      this.#store = store;
      this.#counted = { total: page.total, newestId: page.events[0]?.id ?? newestId };
      this.#show([], page.events, page.next);
      this.#update({
        phase: 'ready',
        store,
        repeats: page.repeats,
        restarts: restarts + (isOther ? 1 : 0),
      });
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
    this.#flushedAt = 0;
  }

  /** Restart if `store`, from any response of the server, is not the store of the entries. */
  noteStore(store: StoreId | undefined): void {
    if (this.#isOther(store)) this.#restart();
  }

  /** Append the next older page; does nothing while one is loading. */
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
      const { pending, rows, repeats } = this.#snapshot;
      this.#counted = { total: page.total, newestId };
      this.#update({ repeats: { ...repeats, ...page.repeats } });
      this.#show(pending, [...rows, ...page.events], page.next, Infinity);
      this.#update({ isLoadingMore: false });
    } catch {
      // The list stays as it is; scrolling to its end requests the page again.
      if (!signal.aborted) this.#update({ isLoadingMore: false });
    }
  }

  /** While the user has scrolled down, new entries wait: rows must not move under the pointer. */
  setAtTop(isAtTop: boolean): void {
    this.#isAtTop = isAtTop;
    if (isAtTop) this.showPending();
    if (isAtTop && this.#snapshot.filters.isGrouped && this.#arrived.length > 0) {
      this.#countTimer ??= setTimeout(() => {
        void this.#recount();
      }, FLUSH_MS);
    }
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
        // Only the server can evaluate a text search, and group.
        if (!isEvaluatedByServer(this.#snapshot.filters)) {
          this.#flushTimer ??= setTimeout(
            () => {
              this.#flush();
            },
            Math.min(this.#flushedAt + FLUSH_MS - Date.now(), FLUSH_MS),
          );
        }
        this.#countTimer ??= setTimeout(() => {
          void this.#recount();
        }, RECOUNT_MS);
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
    this.#flushedAt = Date.now();
    const { filters } = this.#snapshot;
    this.#add(this.#takeArrived().filter((summary) => isWanted(summary, filters)));
  }

  #takeArrived(): Summary[] {
    const arrived = this.#arrived.reverse();
    this.#arrived = [];
    return arrived;
  }

  /** Request the number of matches and, during a text search, which new entries match. */
  async #recount(): Promise<void> {
    this.#countTimer = null;
    const { filters } = this.#snapshot;
    const { signal } = this.#loading;
    const newestId = this.#newestId();
    if (filters.isGrouped && !this.#isAtTop) return;
    const arrived = isEvaluatedByServer(filters) ? this.#takeArrived().length : 1;
    const limit = Math.min(filters.isGrouped ? FIRST_PAGE : arrived, 1_000);
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
    if (filters.isGrouped) {
      // A new event replaces the row of its issue.
      this.#update({ repeats: page.repeats });
      this.#show([], page.events, page.next);
      return;
    }
    this.#add(isEvaluatedByServer(filters) ? page.events : []);
  }

  #newestId(): number {
    const { pending, rows } = this.#snapshot;
    return pending[0]?.id ?? rows[0]?.id ?? 0;
  }

  #add(summaries: Summary[]): void {
    const { rows, pending, next } = this.#snapshot;
    const newestId = this.#newestId();
    const added = summaries.filter((summary) => summary.id > newestId);
    if (this.#isAtTop) this.#show([], [...added, ...pending, ...rows], next);
    else this.#show([...added, ...pending], rows, next);
  }

  /** Show these rows without the oldest ones that the server has evicted. */
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
      // The server may have counted before it read the page: removed rows are requested again.
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
  /** The newest of all entries; the stream starts after it. */
  newestId: number;
  /** The store of that entry. If the page is from another store, the stream reports it. */
  store: StoreId;
}

async function loadFirst(filters: Filters, signal: AbortSignal): Promise<FirstPage> {
  // The newest entry first: entries between the two requests are seen twice, not missed.
  const all = await fetchEvents(NO_FILTERS, null, isFiltered(filters) ? 1 : FIRST_PAGE, signal);
  const page = isFiltered(filters) ? await fetchEvents(filters, null, FIRST_PAGE, signal) : all;
  return { page, newestId: all.events[0]?.id ?? 0, store: all.store };
}

function newerThan(id: number, newestFirst: Summary[]): number {
  const index = newestFirst.findIndex((summary) => summary.id <= id);
  return index < 0 ? newestFirst.length : index;
}

export function isFiltered(filters: Filters): boolean {
  return (
    filters.isGrouped ||
    filters.isDeadOnly ||
    ['q' as const, ...EXACT_FILTERS].some((name) => filters[name] !== '')
  );
}

function isEvaluatedByServer({ q, isGrouped }: Filters): boolean {
  return q !== '' || isGrouped;
}

function isWanted(summary: Summary, filters: Filters): boolean {
  const { dead_letter: deadLetter, origin } = summary;
  const values: Record<ExactFilter, unknown> = {
    type: summary.item_types.includes(filters.type) ? filters.type : summary.type,
    level: summary.level,
    project: summary.project,
    platform: summary.platform,
    topic: deadLetter?.topic ?? origin?.topic,
    reason: deadLetter?.reason,
    issue: summary.issue,
  };
  return (
    EXACT_FILTERS.every((name) => filters[name] === '' || values[name] === filters[name]) &&
    (!filters.isDeadOnly || deadLetter !== null)
  );
}
