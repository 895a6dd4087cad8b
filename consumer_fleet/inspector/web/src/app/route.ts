import { NO_FILTERS, type Filters } from '../api/types';

export interface Route {
  /** An entry's id, or an event id to look up; null for the list only. */
  target: string | null;
  filters: Filters;
}

/** Read `#/events/17?q=timeout&level=error`. */
export function parseRoute(hash: string): Route {
  const [path = '', query = ''] = hash.replace(/^#/, '').split('?', 2);
  const target = /^\/events\/(\d{1,15}|[0-9a-fA-F-]{32,36})$/.exec(path)?.[1] ?? null;
  const parameters = new URLSearchParams(query);
  return {
    target,
    filters: {
      ...NO_FILTERS,
      q: parameters.get('q') ?? '',
      type: parameters.get('type') ?? '',
      level: parameters.get('level') ?? '',
      isDeadOnly: parameters.get('dead') === '1',
    },
  };
}

export function formatRoute({ target, filters }: Route): string {
  const parameters = new URLSearchParams();
  if (filters.q !== '') parameters.set('q', filters.q);
  if (filters.type !== '') parameters.set('type', filters.type);
  if (filters.level !== '') parameters.set('level', filters.level);
  if (filters.isDeadOnly) parameters.set('dead', '1');
  const query = parameters.size > 0 ? `?${parameters}` : '';
  return `#/events${target === null ? '' : `/${target}`}${query}`;
}

/** Whether the target is an entry's id and not an event id, which has 32 digits or more. */
export function isEntryId(target: string): boolean {
  return target.length < 32;
}
