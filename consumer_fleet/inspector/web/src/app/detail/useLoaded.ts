import { useEffect, useState } from 'react';

import { describeFailure } from '../../api/client';

export type Loaded<T> =
  { phase: 'loading' } | { phase: 'ready'; value: T } | { phase: 'failed'; failure: string };

type Load<T> = (signal: AbortSignal) => Promise<T>;

const LOADING = { phase: 'loading' } as const;

/** Loads once per identity of `load`; a request that is no longer wanted is aborted. */
export function useLoaded<T>(load: Load<T>): Loaded<T> {
  const [state, setState] = useState<{ load: Load<T>; loaded: Loaded<T> }>();

  useEffect(() => {
    const controller = new AbortController();
    load(controller.signal).then(
      (value) => {
        if (!controller.signal.aborted) setState({ load, loaded: { phase: 'ready', value } });
      },
      (error: unknown) => {
        if (controller.signal.aborted) return;
        setState({ load, loaded: { phase: 'failed', failure: describeFailure(error) } });
      },
    );
    return () => {
      controller.abort();
    };
  }, [load]);

  // What an earlier `load` gave is not what is asked for now.
  return state?.load === load ? state.loaded : LOADING;
}
