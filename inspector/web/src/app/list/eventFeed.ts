import { describeFailure, fetchEvents } from '../../api/client';
import { openStream, type Connection } from '../../api/stream';
import { NO_FILTERS, type EventPage, type Filters, type Summary } from '../../api/types';

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
}

const FIRST_PAGE = 100;
const PAGE = 500;
const MAX_ROWS = 50_000;
// Entries arrive one by one, in thousands: the page is drawn at most this often for them.
const FLUSH_MS = 120;
const SEARCH_AGAIN_MS = 1_000;

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
};

/** The list of entries: pages of what is kept, and what arrives while it is open. */
export class EventFeed {
  #snapshot = EMPTY;
  readonly #listeners = new Set<() => void>();
  #loading = new AbortController();
  #closeStream: (() => void) | null = null;
  #arrived: Summary[] = [];
  #flushTimer: ReturnType<typeof setTimeout> | null = null;
  #isReaderAtTop = true;

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
    this.#update({ ...EMPTY, filters, connection: this.#snapshot.connection });
    try {
      const [page, newest] = await loadFirst(filters, loading.signal);
      // A later call of open() or close() may have taken over meanwhile.
      if (loading.signal.aborted) return;
      this.#update({ phase: 'ready', rows: page.events, total: page.total, next: page.next });
      this.#follow(newest);
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
    this.#arrived = [];
  }

  /** Append the next older page; does nothing while one is on its way. */
  async loadMore(): Promise<void> {
    const { next, isLoadingMore, filters, phase } = this.#snapshot;
    if (next === null || isLoadingMore || phase !== 'ready') return;
    const { signal } = this.#loading;
    this.#update({ isLoadingMore: true });
    try {
      const page = await fetchEvents(filters, next, PAGE, signal);
      if (signal.aborted) return;
      const rows = [...this.#snapshot.rows, ...page.events];
      this.#update({ rows, next: page.next, total: page.total, isLoadingMore: false });
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
    const { pending, rows } = this.#snapshot;
    if (pending.length > 0)
      this.#update({ ...trimmed([...pending, ...rows], this.#snapshot.next), pending: [] });
  }

  #follow(lastId: number): void {
    this.#closeStream = openStream({
      lastId,
      onSummary: (summary) => {
        this.#arrived.push(summary);
        this.#flushTimer ??= setTimeout(
          () => {
            void this.#flush();
          },
          this.#snapshot.filters.q === '' ? FLUSH_MS : SEARCH_AGAIN_MS,
        );
      },
      onConnection: (connection) => {
        this.#update({ connection });
      },
      onRestart: () => {
        void this.open(this.#snapshot.filters);
      },
    });
  }

  async #flush(): Promise<void> {
    this.#flushTimer = null;
    const arrived = this.#arrived.reverse();
    this.#arrived = [];
    const { filters } = this.#snapshot;
    if (filters.q === '') {
      this.#add(arrived.filter((summary) => isWanted(summary, filters)));
    } else {
      // Only the server can tell what a text search finds.
      await this.#searchAgain(arrived.length);
    }
  }

  async #searchAgain(arrivedCount: number): Promise<void> {
    const { signal } = this.#loading;
    let page: EventPage;
    try {
      const limit = Math.min(arrivedCount, 1_000);
      page = await fetchEvents(this.#snapshot.filters, null, limit, signal);
    } catch {
      return;
    }
    if (!signal.aborted) this.#add(page.events);
  }

  #add(summaries: Summary[]): void {
    const { rows, pending, total, next } = this.#snapshot;
    const newest = pending[0]?.id ?? rows[0]?.id ?? 0;
    const added = summaries.filter((summary) => summary.id > newest);
    if (added.length === 0) return;
    const counted = { total: total + added.length };
    if (this.#isReaderAtTop) {
      this.#update({ ...counted, ...trimmed([...added, ...pending, ...rows], next), pending: [] });
    } else {
      this.#update({ ...counted, pending: [...added, ...pending].slice(0, MAX_ROWS) });
    }
  }

  #update(change: Partial<FeedSnapshot>): void {
    this.#snapshot = { ...this.#snapshot, ...change };
    for (const listener of this.#listeners) listener();
  }
}

/** The first page, and the newest entry of all: what is followed begins behind that one. */
async function loadFirst(filters: Filters, signal: AbortSignal): Promise<[EventPage, number]> {
  // The newest first: what arrives between the two requests is then seen twice, not missed.
  const all = await fetchEvents(NO_FILTERS, null, isFiltered(filters) ? 1 : FIRST_PAGE, signal);
  const page = isFiltered(filters) ? await fetchEvents(filters, null, FIRST_PAGE, signal) : all;
  return [page, all.events[0]?.id ?? 0];
}

function trimmed(rows: Summary[], next: number | null): { rows: Summary[]; next: number | null } {
  if (rows.length <= MAX_ROWS) return { rows, next };
  const kept = rows.slice(0, MAX_ROWS);
  return { rows: kept, next: kept.at(-1)?.id ?? next };
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
