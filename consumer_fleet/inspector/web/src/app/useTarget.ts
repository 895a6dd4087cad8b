import { useCallback } from 'react';

import { lookUpEvent } from '../api/client';
import { useLoaded, type Loaded } from './detail/useLoaded';
import { isEntryId } from './route';

/** The entry that an address names; null without a name, or if no entry has that event id.
 *
 * An entry's own id is known at once, which quick arrow keys need.
 */
export function useTarget(target: string | null): Loaded<number | null> {
  const named = target !== null && isEntryId(target) ? Number(target) : null;
  const eventId = named === null ? target : null;
  const load = useCallback(
    async (signal: AbortSignal) =>
      eventId === null ? null : lookUpEvent(eventId.replaceAll('-', '').toLowerCase(), signal),
    [eventId],
  );
  const found = useLoaded(load);
  return eventId === null ? { phase: 'ready', value: named } : found;
}
