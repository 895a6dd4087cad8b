import { useEffect, useState } from 'react';

import { fetchStatus } from '../api/client';
import type { Connection } from '../api/stream';
import type { Status } from '../api/types';

const REFRESH_MS = 5_000;

/** The server's status, refreshed while the page is visible and the server responds. */
export function useStatus(connection: Connection): Status | null {
  const [status, setStatus] = useState<Status | null>(null);

  useEffect(() => {
    const controller = new AbortController();
    const refresh = () => {
      if (document.hidden) return;
      fetchStatus(controller.signal).then(setStatus, () => {
        // The connection's state shows that the server is gone.
      });
    };
    refresh();
    const timer = setInterval(refresh, REFRESH_MS);
    return () => {
      controller.abort();
      clearInterval(timer);
    };
  }, [connection]);

  return status;
}
