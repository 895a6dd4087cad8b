import { useEffect, useMemo, useSyncExternalStore } from 'react';

import type { Filters } from '../../api/types';
import { EventFeed, type FeedSnapshot } from './eventFeed';

/** The page's feed, opened again when the filters change. */
export function useFeed(filters: Filters): [FeedSnapshot, EventFeed] {
  const feed = useMemo(() => new EventFeed(), []);
  const snapshot = useSyncExternalStore(feed.subscribe, feed.getSnapshot);
  const { q, type, level, isDeadOnly } = filters;

  useEffect(() => {
    void feed.open({ q, type, level, isDeadOnly });
    return () => {
      feed.close();
    };
  }, [feed, q, type, level, isDeadOnly]);

  return [snapshot, feed];
}
