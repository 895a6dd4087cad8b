import { useCallback, useMemo, useSyncExternalStore } from 'react';

import { formatRoute, parseRoute, type Route } from './route';

function subscribe(listener: () => void): () => void {
  window.addEventListener('hashchange', listener);
  return () => {
    window.removeEventListener('hashchange', listener);
  };
}

export type Navigate = (route: Route, how?: 'push' | 'replace') => void;

/** The address's fragment as a route, and the way to change it. */
export function useRoute(): [Route, Navigate] {
  const hash = useSyncExternalStore(subscribe, () => window.location.hash);
  const route = useMemo(() => parseRoute(hash), [hash]);
  const navigate = useCallback<Navigate>((next, how = 'push') => {
    const target = formatRoute(next);
    if (target === window.location.hash) return;
    // Not through location.hash: that tells of it later, and arrow keys in quick succession count
    // on where the one before has led.
    if (how === 'push') window.history.pushState(null, '', target);
    else window.history.replaceState(null, '', target);
    // Neither tells anybody.
    window.dispatchEvent(new HashChangeEvent('hashchange'));
  }, []);
  return [route, navigate];
}
