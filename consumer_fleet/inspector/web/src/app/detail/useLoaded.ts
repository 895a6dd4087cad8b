import { useEffect, useState } from 'react';

import { describeFailure } from '../../api/client';

export type Loaded<T> =
  { phase: 'loading' } | { phase: 'ready'; value: T } | { phase: 'failed'; failure: string };

type Load<T> = (signal: AbortSignal) => Promise<T>;

const LOADING = { phase: 'loading' } as const;

/** Loads once per identity of `load`, nothing while that is null; aborts unneeded requests. */
export function useLoaded<T>(load: Load<T> | null): Loaded<T> {
  const [state, setState] = useState<{ load: Load<T>; loaded: Loaded<T> }>();

  useEffect(() => {
    if (load === null) return;
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

  // Ignore the result of an earlier `load`.
  return state?.load === load ? state.loaded : LOADING;
}
