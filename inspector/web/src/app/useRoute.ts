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
    if (how === 'push') {
      window.location.hash = target;
      return;
    }
    window.history.replaceState(null, '', target);
    // replaceState tells nobody.
    window.dispatchEvent(new HashChangeEvent('hashchange'));
  }, []);
  return [route, navigate];
}
