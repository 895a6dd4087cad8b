import { useEffect, useState } from 'react';

import type { Connection } from '../api/stream';
import { addSample } from './model';
import type { Facts, FleetView, History, Sample, Update } from './types';

const RETRY_MS = 2_000;
const STALE_MS = 5_000;

export interface FleetState {
  connection: Connection;
  facts: Facts | null;
  samples: Sample[];
  view: FleetView | null;
  /** Seconds since the last view, once they are so many that it may be out of date. */
  staleS: number | null;
}

const NOTHING: FleetState = {
  connection: 'connecting',
  facts: null,
  samples: [],
  view: null,
  staleS: null,
};

/** The server's views and samples, live. */
export function useFleet(): FleetState {
  const [state, setState] = useState(NOTHING);
  useEffect(() => {
    let receivedAt = Date.now();
    const change = (part: Partial<FleetState>) => {
      setState((before) => ({ ...before, ...part }));
    };
    const close = follow({
      onConnection: (connection) => {
        change({ connection });
      },
      onHistory: ({ samples, ...facts }) => {
        change({ samples, facts });
      },
      onUpdate: ({ view, sample }) => {
        receivedAt = Date.now();
        setState((before) => {
          const samples = addSample(before.samples, sample, before.facts?.bucket_s ?? 1);
          return { ...before, view, samples, staleS: null };
        });
      },
    });
    const timer = setInterval(() => {
      const age = Date.now() - receivedAt;
      if (age > STALE_MS) change({ staleS: Math.floor(age / 1000) });
    }, 1_000);
    return () => {
      close();
      clearInterval(timer);
    };
  }, []);
  return state;
}

interface Listeners {
  onConnection: (connection: Connection) => void;
  onHistory: (history: History) => void;
  onUpdate: (update: Update) => void;
}

function follow({ onConnection, onHistory, onUpdate }: Listeners): () => void {
  let source: EventSource | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const open = () => {
    source = new EventSource('/api/fleet/stream');
    source.addEventListener('history', (event: MessageEvent<string>) => {
      onConnection('live');
      onHistory(JSON.parse(event.data) as History);
    });
    source.addEventListener('view', (event: MessageEvent<string>) => {
      onUpdate(JSON.parse(event.data) as Update);
    });
    source.addEventListener('error', () => {
      onConnection('disconnected');
      // It reconnects by itself, but not after a response such as 503.
      if (source?.readyState === EventSource.CLOSED) timer = setTimeout(open, RETRY_MS);
    });
  };
  open();
  return () => {
    clearTimeout(timer);
    source?.close();
  };
}
