import type { CoverageAnswer, CoverageQuery } from '../context/coverage';
import { asArray, type JsonValue, member, parseJson } from '../json';
import {
  EXACT_FILTERS,
  type Choices,
  type Entry,
  type EntryRef,
  type EventPage,
  type Filters,
  type FoundSource,
  type Status,
  type StoreId,
  type Trace,
} from './types';

/** An answer other than 2xx, with the server's one-line reason. */
export class ApiError extends Error {
  override name = 'ApiError';
  readonly status: number;

  constructor(status: number, detail: string) {
    super(detail);
    this.status = status;
  }
}

async function get(path: string, signal?: AbortSignal): Promise<Response> {
  const response = await fetch(path, signal === undefined ? {} : { signal });
  if (!response.ok) throw new ApiError(response.status, await readDetail(response));
  return response;
}

async function readDetail(response: Response): Promise<string> {
  const fallback = `The server returned HTTP ${response.status}.`;
  try {
    const body = (await response.json()) as { detail?: unknown };
    return typeof body.detail === 'string' ? body.detail : fallback;
  } catch {
    return fallback;
  }
}

/** The message for the user about a failed request. */
export function describeFailure(error: unknown): string {
  if (error instanceof ApiError) {
    return error.status === 401
      ? 'Token required: open the address with ?token=… once.'
      : error.message;
  }
  if (error instanceof TypeError) return 'Lost connection to the inspector. Is it still running?';
  return error instanceof Error ? error.message : String(error);
}

export async function fetchStatus(signal?: AbortSignal): Promise<Status> {
  return (await (await get('/api/status', signal)).json()) as Status;
}

export async function fetchEvents(
  filters: Filters,
  before: number | null,
  limit: number,
  signal?: AbortSignal,
): Promise<EventPage> {
  const query = new URLSearchParams({ limit: String(limit) });
  if (before !== null) query.set('before', String(before));
  for (const [name, value] of Object.entries(filterParameters(filters))) query.set(name, value);
  return (await (await get(`/api/events?${query}`, signal)).json()) as EventPage;
}

/** The filters that are set, as parameters of the API and of the address. */
export function filterParameters(filters: Filters): Record<string, string> {
  const texts = ['q', ...EXACT_FILTERS] as const;
  const given = texts.filter((name) => filters[name] !== '').map((name) => [name, filters[name]]);
  const parameters = Object.fromEntries(given) as Record<string, string>;
  if (filters.isDeadOnly) parameters.dead = '1';
  if (filters.isGrouped) parameters.grouped = '1';
  return parameters;
}

export async function fetchChoices(signal?: AbortSignal): Promise<Choices> {
  return (await (await get('/api/choices', signal)).json()) as Choices;
}

/** A trace; without an id, that of an entry's spans that have none. */
export async function fetchTrace(
  traceId: string | null,
  entry: EntryRef | null,
  signal?: AbortSignal,
): Promise<Trace> {
  const path =
    traceId === null
      ? entryPath(entry ?? { store: '', id: 0 }, '/trace')
      : `/api/traces/${traceId}`;
  return (await (await get(path, signal)).json()) as Trace;
}

/** Delete all stored entries. Returns the id of the cleared store, which is another one. */
export async function clearEntries(): Promise<StoreId> {
  const response = await fetch('/api/events', { method: 'DELETE' });
  if (!response.ok) throw new ApiError(response.status, await readDetail(response));
  return ((await response.json()) as { store: StoreId }).store;
}

export async function fetchEntry(ref: EntryRef, signal?: AbortSignal): Promise<Entry> {
  const text = await (await get(entryPath(ref), signal)).text();
  const entry = JSON.parse(text) as Omit<Entry, 'ref'>;
  // Numbers in the sender's headers must stay exact; the API's own are small.
  const exact = parseJson(text);
  const headers = asArray(member(exact, 'items')).map((item) => member(item, 'header') ?? null);
  return {
    ...entry,
    ref,
    header: member(exact, 'header') ?? null,
    items: entry.items.map((item, index) => ({ ...item, header: headers[index] ?? null })),
  };
}

// With the store, a restarted server can't answer with another entry of the same number.
function entryPath({ store, id }: EntryRef, part = ''): string {
  return `/api/events/${id}${part}?${new URLSearchParams({ store })}`;
}

export function itemPath(ref: EntryRef, index: number): string {
  return entryPath(ref, `/items/${index}`);
}

export function rawPath(ref: EntryRef): string {
  return entryPath(ref, '/raw');
}

export async function fetchItemText(
  ref: EntryRef,
  index: number,
  signal?: AbortSignal,
): Promise<string> {
  return (await get(itemPath(ref, index), signal)).text();
}

export async function fetchItemJson(
  ref: EntryRef,
  index: number,
  signal?: AbortSignal,
): Promise<JsonValue> {
  return parseJson(await fetchItemText(ref, index, signal));
}

/** The newest entry with this event id, or null. */
export async function lookUpEvent(eventId: string, signal?: AbortSignal): Promise<number | null> {
  try {
    const response = await get(`/api/lookup/${encodeURIComponent(eventId)}`, signal);
    return ((await response.json()) as { id: number }).id;
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return null;
    throw error;
  }
}

export async function fetchCoverage(
  entryId: number,
  query: CoverageQuery,
  signal: AbortSignal,
): Promise<CoverageAnswer> {
  const parameters = fileParameters(query);
  parameters.set('entry', String(entryId));
  return (await (await get(`/api/coverage?${parameters}`, signal)).json()) as CoverageAnswer;
}

/** The source lines around one of a frame's file, or null if the server has none. */
export async function fetchSource(
  query: CoverageQuery,
  line: number,
  signal: AbortSignal,
): Promise<FoundSource | null> {
  const parameters = fileParameters(query);
  parameters.set('line', String(line));
  try {
    return (await (await get(`/api/source?${parameters}`, signal)).json()) as FoundSource;
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return null;
    throw error;
  }
}

function fileParameters(query: CoverageQuery): URLSearchParams {
  const parameters = new URLSearchParams({ file: query.file });
  const optional: [string, string | null][] = [
    ['commit', query.commit],
    ['sdk_name', query.sdkName],
    ['abs_path', query.absPath],
    ['module', query.module],
    ['package', query.package],
  ];
  for (const [name, value] of optional) {
    if (value !== null) parameters.set(name, value);
  }
  return parameters;
}
