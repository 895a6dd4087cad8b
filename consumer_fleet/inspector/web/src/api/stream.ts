import { SseParser, type ServerSentEvent } from './sse';
import type { StoreId, Summary } from './types';

export type Connection = 'connecting' | 'live' | 'disconnected';

export interface StreamOptions {
  /** The newest entry that is already known: the stream begins behind it. */
  lastId: number;
  /** Whose entry that is; null where the server does not say. */
  store: StoreId | null;
  onSummary: (summary: Summary) => void;
  onConnection: (connection: Connection) => void;
  /** The server has another store, or counts anew: what is known is void. The stream has ended. */
  onRestart: () => void;
  timing?: Partial<StreamTiming>;
}

export interface StreamTiming {
  firstRetryMs: number;
  longestRetryMs: number;
  /** The server says something every 15 s; silence beyond this means that it is gone. */
  silenceLimitMs: number;
}

const TIMING: StreamTiming = { firstRetryMs: 500, longestRetryMs: 10_000, silenceLimitMs: 40_000 };

/** Follow new entries until the returned function is called.
 *
 * Not an EventSource: that gives up for good at an answer such as 503, and cannot be told where
 * to resume, so it would have to skip what came between the first page and its connection.
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
  // Said once: further attempts are still a disconnection to whoever looks at the page.
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
      // Whatever broke the connection, the remedy is the same: connect again.
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

// A function: the compiler takes `aborted` for constant, but waiting changes it.
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
