import { NO_FILTERS, type EntryRef, type Filters } from '../api/types';

/** The event that an address names: by its event id, by its entry, or by both. */
export interface Target {
  eventId: string | null;
  /** The store is null in old links, which name the entry's number only. */
  entry: EntryRef | { store: null; id: number } | null;
}

export interface Route {
  /** Null for the list only. */
  target: Target | null;
  filters: Filters;
}

const EVENT_ID = '[0-9a-fA-F-]{32,36}';
const ENTRY = String.raw`([0-9a-z]+)-(\d{1,15})`;
const IS_EVENT_ID = new RegExp(`^${EVENT_ID}$`);
const BY_EVENT_ID = new RegExp(`^/events?/(${EVENT_ID})(?:/${ENTRY})?$`);
const BY_ENTRY = new RegExp(`^/entry/${ENTRY}$`);
const BY_NUMBER = /^\/events\/(\d{1,15})$/;

/** Read `#/event/EVENT_ID/STORE-17?q=timeout&level=error`.
 *
 * The event id finds the event in any store. The entry, which is optional, tells apart several
 * deliveries of one event, and names envelopes without an event id: `#/entry/STORE-17`.
 */
export function parseRoute(hash: string): Route {
  const [path = '', query = ''] = hash.replace(/^#/, '').split('?', 2);
  const parameters = new URLSearchParams(query);
  return {
    target: parseTarget(path),
    filters: {
      ...NO_FILTERS,
      q: parameters.get('q') ?? '',
      type: parameters.get('type') ?? '',
      level: parameters.get('level') ?? '',
      isDeadOnly: parameters.get('dead') === '1',
    },
  };
}

function parseTarget(path: string): Target | null {
  const [, eventId, store, id] = BY_EVENT_ID.exec(path) ?? [];
  if (eventId !== undefined) return { eventId, entry: readEntry(store, id) };
  const [, entryStore, entryId] = BY_ENTRY.exec(path) ?? [];
  if (entryId !== undefined) return { eventId: null, entry: readEntry(entryStore, entryId) };
  const number = BY_NUMBER.exec(path)?.[1];
  return number === undefined
    ? null
    : { eventId: null, entry: { store: null, id: Number(number) } };
}

function readEntry(store: string | undefined, id: string | undefined): EntryRef | null {
  return store === undefined || id === undefined ? null : { store, id: Number(id) };
}

export function formatRoute({ target, filters }: Route): string {
  const parameters = new URLSearchParams();
  if (filters.q !== '') parameters.set('q', filters.q);
  if (filters.type !== '') parameters.set('type', filters.type);
  if (filters.level !== '') parameters.set('level', filters.level);
  if (filters.isDeadOnly) parameters.set('dead', '1');
  const query = parameters.size > 0 ? `?${parameters}` : '';
  return `#${formatTarget(target)}${query}`;
}

function formatTarget(target: Target | null): string {
  if (target === null) return '/events';
  const { eventId, entry } = target;
  const known = entry !== null && entry.store !== null ? `/${entry.store}-${entry.id}` : '';
  if (eventId !== null && IS_EVENT_ID.test(eventId)) return `/event/${eventId}${known}`;
  if (known !== '') return `/entry${known}`;
  return entry === null ? '/events' : `/events/${entry.id}`;
}
