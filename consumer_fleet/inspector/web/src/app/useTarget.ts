import { useCallback, useMemo } from 'react';

import { lookUpEvent } from '../api/client';
import type { EntryRef, StoreId } from '../api/types';
import { useLoaded, type Loaded } from './detail/useLoaded';
import type { Target } from './route';

/** The entry that an address names in this store; null without a name, or if it is not stored.
 *
 * An entry of this store is known at once, which quick arrow keys need. A number from another store
 * would name another event: there, only the event id counts.
 */
export function useTarget(target: Target | null, store: StoreId | null): Loaded<EntryRef | null> {
  const entry = target?.entry ?? null;
  const named = entry !== null && entry.store === store ? entry.id : null;
  const known = useMemo(
    () => (named === null || store === null ? null : { store, id: named }),
    [named, store],
  );
  const eventId = known === null ? (target?.eventId ?? null) : null;
  const load = useCallback(
    async (signal: AbortSignal) => {
      if (eventId === null || store === null) return null;
      const id = await lookUpEvent(eventId.replaceAll('-', '').toLowerCase(), signal);
      return id === null ? null : { store, id };
    },
    [eventId, store],
  );
  const found = useLoaded(load);
  if (target === null || known !== null) return { phase: 'ready', value: known };
  return store === null ? { phase: 'loading' } : found;
}
