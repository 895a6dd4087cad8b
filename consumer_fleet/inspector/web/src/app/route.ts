import { filterParameters } from '../api/client';
import { EXACT_FILTERS, NO_FILTERS, type EntryRef, type Filters } from '../api/types';

/** The event that an address names: by its event id, by its entry, or by both. */
export interface Target {
  eventId: string | null;
  /** The store is null in old links, which name the entry's number only. */
  entry: EntryRef | { store: null; id: number } | null;
}

export interface Route {
  /** Null for the list only. */
  target: Target | null;
  /** The trace to show instead of an event. */
  traceId?: string | undefined;
  filters: Filters;
}

const EVENT_ID = '[0-9a-fA-F-]{32,36}';
const ENTRY = String.raw`([0-9a-z]+)-(\d{1,15})`;
const IS_EVENT_ID = new RegExp(`^${EVENT_ID}$`);
const BY_EVENT_ID = new RegExp(`^/events?/(${EVENT_ID})(?:/${ENTRY})?$`);
const BY_ENTRY = new RegExp(`^/entry/${ENTRY}$`);
const BY_TRACE = new RegExp(`^/trace/(${EVENT_ID})$`);
const BY_NUMBER = /^\/events\/(\d{1,15})$/;

/** Read `#/event/EVENT_ID/STORE-17?q=timeout&level=error`.
 *
 * The event id finds the event in any store. The entry, which is optional, tells apart several
 * deliveries of one event, and names envelopes without an event id: `#/entry/STORE-17`.
 */
export function parseRoute(hash: string): Route {
  const [path = '', query = ''] = hash.replace(/^#/, '').split('?', 2);
  const parameters = new URLSearchParams(query);
  const filters = {
    ...NO_FILTERS,
    isDeadOnly: parameters.get('dead') === '1',
    isGrouped: parameters.get('grouped') === '1',
  };
  for (const name of ['q', ...EXACT_FILTERS] as const) filters[name] = parameters.get(name) ?? '';
  return { target: parseTarget(path), traceId: BY_TRACE.exec(path)?.[1], filters };
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

export function formatRoute({ target, traceId, filters }: Route): string {
  const parameters = new URLSearchParams(filterParameters(filters));
  const query = parameters.size > 0 ? `?${parameters}` : '';
  return `#${traceId === undefined ? formatTarget(target) : `/trace/${traceId}`}${query}`;
}

/** The address of the list of an issue's events. */
export function linkToIssue(issue: string): string {
  return formatRoute({ target: null, filters: { ...NO_FILTERS, issue } });
}

/** The address of an entry or a trace, with the filters of the present one. */
export function linkTo(to: { target: Target } | { traceId: string }): string {
  const { filters } = parseRoute(window.location.hash);
  return formatRoute({ target: null, filters, ...to });
}

function formatTarget(target: Target | null): string {
  if (target === null) return '/events';
  const { eventId, entry } = target;
  const known = entry !== null && entry.store !== null ? `/${entry.store}-${entry.id}` : '';
  if (eventId !== null && IS_EVENT_ID.test(eventId)) return `/event/${eventId}${known}`;
  if (known !== '') return `/entry${known}`;
  return entry === null ? '/events' : `/events/${entry.id}`;
}
