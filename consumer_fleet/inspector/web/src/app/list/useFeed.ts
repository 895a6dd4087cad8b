import { useEffect, useMemo, useSyncExternalStore } from 'react';

import type { Filters } from '../../api/types';
import { EventFeed, type FeedSnapshot } from './eventFeed';

/** The page's feed, opened again when the filters change. */
export function useFeed(filters: Filters): [FeedSnapshot, EventFeed] {
  const feed = useMemo(() => new EventFeed(), []);
  const snapshot = useSyncExternalStore(feed.subscribe, feed.getSnapshot);
  // Each address has filters of its own, mostly with the same values.
  const wanted = JSON.stringify(filters);

  useEffect(() => {
    void feed.open(JSON.parse(wanted) as Filters);
    return () => {
      feed.close();
    };
  }, [feed, wanted]);

  return [snapshot, feed];
}
