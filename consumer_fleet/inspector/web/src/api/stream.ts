import { SseParser, type ServerSentEvent } from './sse';
import type { StoreId, Summary } from './types';

export type Connection = 'connecting' | 'live' | 'disconnected';

export interface StreamOptions {
  /** The newest known entry; the stream starts after it. */
  lastId: number;
  /** The store of that entry; null if the server does not name it. */
  store: StoreId | null;
  onSummary: (summary: Summary) => void;
  onConnection: (connection: Connection) => void;
  /** The server has another store (a cleared one is another), or its ids start over: known ids are
   * invalid. The stream ends. */
  onRestart: () => void;
  timing?: Partial<StreamTiming>;
}

export interface StreamTiming {
  firstRetryMs: number;
  longestRetryMs: number;
  /** The server sends something every 15 s; longer silence means that it is gone. */
  silenceLimitMs: number;
}

const TIMING: StreamTiming = { firstRetryMs: 500, longestRetryMs: 10_000, silenceLimitMs: 40_000 };

/** Follow new entries until the returned function is called.
 *
 * Not an EventSource: that gives up after a response such as 503, and it can't start after a given
 * entry, so it would miss entries between the first page and its connection.
 */
export function openStream(options: StreamOptions): () => void {
  const closing = new AbortController();
  void follow(options, closing.signal);
  return () => {
    closing.abort();
  };
}

async function follow(options: StreamOptions, closing: AbortSignal): Promise<void> {
  const timing = { ...TIMING, ...options.timing };
  let { lastId, store } = options;
  let retryMs = timing.firstRetryMs;
  // Reported once: further attempts still count as disconnected.
  options.onConnection('connecting');
  while (!closing.aborted) {
    try {
      for await (const { event, data } of connect(lastId, timing.silenceLimitMs, closing, () => {
        options.onConnection('live');
        retryMs = timing.firstRetryMs;
      })) {
        const sent = event === 'store' ? (JSON.parse(data) as StoreId) : store;
        const summary = event === 'entry' ? (JSON.parse(data) as Summary) : null;
        if ((store !== null && sent !== store) || (summary !== null && summary.id <= lastId)) {
          options.onRestart();
          return;
        }
        store = sent;
        if (summary === null) continue;
        lastId = summary.id;
        options.onSummary(summary);
      }
    } catch {
      // Whatever broke the connection, connect again.
    }
    if (isAborted(closing)) return;
    options.onConnection('disconnected');
    await sleep(retryMs, closing);
    retryMs = Math.min(retryMs * 2, timing.longestRetryMs);
  }
}

async function* connect(
  lastId: number,
  silenceLimitMs: number,
  closing: AbortSignal,
  onOpen: () => void,
): AsyncGenerator<ServerSentEvent> {
  const silence = new AbortController();
  let timer = setTimeout(() => {
    silence.abort();
  }, silenceLimitMs);
  try {
    const response = await fetch('/api/stream', {
      headers: { Accept: 'text/event-stream', 'Last-Event-ID': String(lastId) },
      cache: 'no-store',
      signal: AbortSignal.any([closing, silence.signal]),
    });
    if (!response.ok || response.body === null) throw new Error(`status ${response.status}`);
    onOpen();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const parser = new SseParser();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(timer);
      timer = setTimeout(() => {
        silence.abort();
      }, silenceLimitMs);
      yield* parser.push(value);
    }
  } finally {
    clearTimeout(timer);
  }
}

// A function, because the compiler assumes that `aborted` is constant.
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}

function sleep(durationMs: number, closing: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, durationMs);
    closing.addEventListener('abort', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
