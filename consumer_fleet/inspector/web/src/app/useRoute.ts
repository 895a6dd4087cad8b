import { useCallback, useMemo, useSyncExternalStore } from 'react';

import { formatRoute, parseRoute, type Route } from './route';

function subscribe(listener: () => void): () => void {
  window.addEventListener('hashchange', listener);
  return () => {
    window.removeEventListener('hashchange', listener);
  };
}

export type Navigate = (route: Route, how?: 'push' | 'replace') => void;

/** The address's fragment as a route, and a function to change it. */
export function useRoute(): [Route, Navigate] {
  const hash = useSyncExternalStore(subscribe, () => window.location.hash);
  const route = useMemo(() => parseRoute(hash), [hash]);
  const navigate = useCallback<Navigate>((next, how = 'push') => {
    const target = formatRoute(next);
    if (target === window.location.hash) return;
    // Not through location.hash, which fires its event later: each of several quick arrow keys
    // needs the route that the previous one has set.
    if (how === 'push') window.history.pushState(null, '', target);
    else window.history.replaceState(null, '', target);
    // Neither call fires an event.
    window.dispatchEvent(new HashChangeEvent('hashchange'));
  }, []);
  return [route, navigate];
}
