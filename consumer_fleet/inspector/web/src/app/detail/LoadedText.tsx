import { useCallback, type ReactNode } from 'react';

import { fetchItemText } from '../../api/client';
import type { EntryRef } from '../../api/types';
import { useLoaded } from './useLoaded';

interface Props {
  entry: EntryRef;
  index: number;
  children: (text: string) => ReactNode;
}

/** The payload of an item as text, once it is there. */
export function LoadedText({ entry, index, children }: Props) {
  const load = useCallback(
    (signal: AbortSignal) => fetchItemText(entry, index, signal),
    [entry, index],
  );
  const loaded = useLoaded(load);
  if (loaded.phase === 'loading') return <p className="hint">Loading…</p>;
  if (loaded.phase === 'failed') return <p role="alert">{loaded.failure}</p>;
  return children(loaded.value);
}
