import { afterEach, expect, test, vi } from 'vitest';

import { summary } from '../fixtures/generate';
import { SseParser } from './sse';
import { openStream, type Connection } from './stream';

test('events are read wherever chunks end', () => {
  const text = 'id: 7\r\nevent: entry\r\ndata: {"a":\ndata: 1}\n\n: keep-alive\n\ndata:x\r\r';
  for (let size = 1; size < text.length; size += 1) {
    const parser = new SseParser();
    const events = [];
    for (let start = 0; start < text.length; start += size) {
      events.push(...parser.push(text.slice(start, start + size)));
    }
    events.push(...parser.push('\n'));
    expect(events).toEqual([
      { id: '7', event: 'entry', data: '{"a":\n1}' },
      { id: '7', event: 'message', data: 'x' },
    ]);
  }
});

const TIMING = { firstRetryMs: 1, longestRetryMs: 4, silenceLimitMs: 5_000 };

let close = () => {
  // No stream is open.
};
afterEach(() => {
  close();
});

function streamOf(...ids: number[]): Response {
  return storeStream(null, ...ids);
}

function storeStream(store: string | null, ...ids: number[]): Response {
  const first = store === null ? '' : `event: store\ndata: ${JSON.stringify(store)}\n\n`;
  const text = ids.map((id) => `id: ${id}\nevent: entry\ndata: ${JSON.stringify(summary(id))}\n\n`);
  return new Response(first + text.join(''), { headers: { 'content-type': 'text/event-stream' } });
}

/** Serves these responses in turn; the last stays open. Returns the received Last-Event-IDs. */
function serve(...answers: (Response | Error)[]): string[] {
  const lastIds: string[] = [];
  vi.stubGlobal('fetch', (_: string, options: RequestInit) => {
    lastIds.push(new Headers(options.headers).get('Last-Event-ID') ?? '');
    const answer = answers.shift();
    if (answer instanceof Error) return Promise.reject(answer);
    return answer === undefined ? forever(options) : Promise.resolve(answer);
  });
  return lastIds;
}

function forever(options: RequestInit): Promise<Response> {
  return new Promise((_, reject) => {
    options.signal?.addEventListener('abort', () => {
      reject(new Error('aborted'));
    });
  });
}

function follow(lastId: number, timing = TIMING, store: string | null = null) {
  const seen: number[] = [];
  const connections: (Connection | 'restarted')[] = [];
  close = openStream({
    lastId,
    store,
    onSummary: ({ id }) => seen.push(id),
    onConnection: (connection) => connections.push(connection),
    onRestart: () => connections.push('restarted'),
    timing,
  });
  return { seen, connections };
}

test('a stream starts after the newest entry of the list', async () => {
  const lastIds = serve(streamOf(42));
  const { seen } = follow(41);
  await vi.waitFor(() => {
    expect(seen).toEqual([42]);
  });
  expect(lastIds[0]).toBe('41');
});

test('a broken stream resumes after its last entry', async () => {
  const lastIds = serve(streamOf(1, 2), new TypeError('refused'), streamOf(3));
  const { seen } = follow(0);
  await vi.waitFor(() => {
    expect(lastIds).toEqual(['0', '2', '2', '3']);
  });
  expect(seen).toEqual([1, 2, 3]);
});

test('a server whose ids start over ends the stream, so that the list is reloaded', async () => {
  const lastIds = serve(streamOf(8), streamOf(1, 2));
  const { seen, connections } = follow(7);
  await vi.waitFor(() => {
    expect(connections).toContain('restarted');
  });
  expect(seen).toEqual([8]);
  expect(lastIds).toEqual(['7', '8']);
});

test('another store ends the stream before its first entry, even if its ids are higher', async () => {
  const lastIds = serve(storeStream('old', 8), storeStream('new', 9, 10));
  const { seen, connections } = follow(7, TIMING, 'old');
  await vi.waitFor(() => {
    expect(connections).toContain('restarted');
  });
  expect(seen).toEqual([8]);
  expect(lastIds).toEqual(['7', '8']);
});

test('a store that is cleared ends the stream before its next entry', async () => {
  const cleared = (await storeStream('old', 8).text()) + (await storeStream('new', 9).text());
  serve(new Response(cleared));
  const { seen, connections } = follow(7, TIMING, 'old');
  await vi.waitFor(() => {
    expect(connections).toContain('restarted');
  });
  expect(seen).toEqual([8]);
});

test('the first store that a stream names is compared with later ones', async () => {
  serve(storeStream('old', 8), storeStream('new', 9));
  const { seen, connections } = follow(7);
  await vi.waitFor(() => {
    expect(connections).toContain('restarted');
  });
  expect(seen).toEqual([8]);
});

test('a server that names no store is still followed', async () => {
  serve(storeStream('old', 8), streamOf(9), storeStream('old', 10));
  const { seen, connections } = follow(7, TIMING, 'old');
  await vi.waitFor(() => {
    expect(seen).toEqual([8, 9, 10]);
  });
  expect(connections).not.toContain('restarted');
});

test('a response such as 503 is retried', async () => {
  serve(new Response('', { status: 503 }), streamOf(1));
  const { seen, connections } = follow(0);
  await vi.waitFor(() => {
    expect(seen).toEqual([1]);
  });
  expect(connections.slice(0, 3)).toEqual(['connecting', 'disconnected', 'live']);
});

test('a silent stream is closed and resumed', async () => {
  const lastIds = serve();
  follow(5, { ...TIMING, silenceLimitMs: 5 });
  await vi.waitFor(() => {
    expect(lastIds.length).toBeGreaterThan(2);
  });
  expect(new Set(lastIds)).toEqual(new Set(['5']));
});

test('a closed stream does not connect again', async () => {
  const lastIds = serve(streamOf(1));
  const { connections } = follow(0);
  await vi.waitFor(() => {
    expect(connections).toContain('disconnected');
  });
  close();
  const count = lastIds.length;
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(lastIds.length).toBeLessThanOrEqual(count + 1);
  expect(connections.at(-1)).not.toBe('live');
});
