import { readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';

import type { Plugin } from 'vite';

import { deepEvent, entry, pick, summary } from '../src/fixtures/generate.ts';
import { hostileEvent } from '../src/fixtures/hostile.ts';
import type { Summary } from '../src/api/types';

const KEPT = Number(process.env.MOCK_EVENTS ?? 10_000);
const NEW_EVERY_MS = Number(process.env.MOCK_EVERY_MS ?? 4_000);
const STORE = 'mock';
const FIXTURES = join(import.meta.dirname, '../src/fixtures');

/** The inspector's API for `npm run dev`, with sample entries; `INSPECTOR_URL` names a real one. */
export function mockServer(): Plugin {
  const target = process.env.INSPECTOR_URL;
  return {
    name: 'mock-server',
    apply: 'serve',
    config: () =>
      target === undefined ? {} : { server: { proxy: { '/api': { target, changeOrigin: true } } } },
    configureServer(server) {
      if (target !== undefined) return;
      const store = new MockStore();
      server.middlewares.use('/api', (request, response) => {
        store.answer(new URL(request.url ?? '/', 'http://mock'), request, response);
      });
    },
  };
}

const DEAD = {
  reason: 'refused',
  detail: 'upstream answered 413: envelope is larger than 20971520 bytes',
  group: 'consumer-fleet-ingest-events',
  topic: 'ingest-events',
  partition: 3,
  offset: 18231,
};

class MockStore {
  readonly #summaries: Summary[] = [];
  readonly #streams = new Set<ServerResponse>();

  constructor() {
    for (let id = 1; id <= KEPT; id += 1) this.#summaries.push(this.#make(id));
    setInterval(() => {
      const added = this.#make(this.#summaries.length + 1);
      this.#summaries.push(added);
      for (const stream of this.#streams) writeEntry(stream, added);
    }, NEW_EVERY_MS).unref();
  }

  #make(id: number): Summary {
    if (id % 41 === 0) return summary(id, { title: 'Hostile', culprit: 'see every field' });
    if (id % 43 === 0) return summary(id, { title: 'RecursionError: 500 frames' });
    if (id % 9 === 7) {
      return summary(id, {
        dead_letter: DEAD,
        answers: [
          { destination: 'upstream', status: 413, detail: 'too large', at: 1_770_800_000 + id },
          { destination: 'saas', status: 200, detail: null, at: 1_770_800_000 + id },
        ],
      });
    }
    return summary(id);
  }

  answer(url: URL, request: IncomingMessage, response: ServerResponse): void {
    const [, id, item] = /^\/events\/(\d+)(?:\/items\/(\d+))?$/.exec(url.pathname) ?? [];
    if (url.pathname === '/status') sendJson(response, this.#status());
    else if (url.pathname === '/events') sendJson(response, this.#page(url.searchParams));
    else if (url.pathname === '/stream') this.#stream(request, response);
    else if (url.pathname === '/coverage') sendJson(response, coverage());
    else if (item !== undefined) sendText(response, payloadOf(Number(id)));
    else if (id !== undefined) this.#entry(Number(id), response);
    else sendJson(response, { detail: 'no such address' }, 404);
  }

  #status() {
    const count = this.#summaries.length;
    return {
      version: '0.1.0',
      store: STORE,
      source: { kind: 'demo', name: 'embedded broker, topic events', problem: null },
      counts: { accepted: count, kept: count, kept_bytes: count * 4200 },
      coverage: true,
      dsn: 'http://public@127.0.0.1:4100/1',
    };
  }

  #page(query: URLSearchParams) {
    const q = (query.get('q') ?? '').toLowerCase();
    const [type, level, dead] = ['type', 'level', 'dead'].map((name) => query.get(name));
    const matching = this.#summaries.filter(
      (one) =>
        `${one.title} ${one.culprit} ${one.event_id ?? ''}`.toLowerCase().includes(q) &&
        (type === null || one.type === type) &&
        (level === null || one.level === level) &&
        (dead === null || one.dead_letter !== null),
    );
    const before = Number(query.get('before') ?? Infinity);
    const older = matching.filter((one) => one.id < before).reverse();
    const events = older.slice(0, Number(query.get('limit') ?? 100));
    const next = events.length < older.length ? (events.at(-1)?.id ?? null) : null;
    return { events, total: matching.length, next, repeats: {}, store: STORE };
  }

  #entry(id: number, response: ServerResponse): void {
    const found = this.#summaries[id - 1];
    if (found === undefined) {
      sendJson(response, { detail: `Entry ${id} is not kept (any more).` }, 404);
      return;
    }
    const size = payloadOf(id).length;
    const items = [
      { index: 0, type: 'event', size_bytes: size, header: { type: 'event', length: size } },
      {
        index: 1,
        type: 'attachment',
        size_bytes: 20_480,
        header: { type: 'attachment', filename: 'log.txt' },
      },
    ];
    sendJson(response, entry(id, { summary: found, items }));
  }

  #stream(request: IncomingMessage, response: ServerResponse): void {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    response.write(': hello\n\n');
    const lastId = Number(request.headers['last-event-id'] ?? this.#summaries.length);
    for (const missed of this.#summaries.slice(lastId)) writeEntry(response, missed);
    this.#streams.add(response);
    request.on('close', () => this.#streams.delete(response));
  }
}

function writeEntry(stream: ServerResponse, one: Summary): void {
  stream.write(`id: ${one.id}\nevent: entry\ndata: ${JSON.stringify(one)}\n\n`);
}

const FILES = ['python', 'javascript', 'native', 'dotnet', 'python'];

function payloadOf(id: number): string {
  if (id % 41 === 0) return JSON.stringify(hostileEvent);
  if (id % 43 === 0) return JSON.stringify(deepEvent(500));
  return readFileSync(join(FIXTURES, `${pick(FILES, id)}.json`), 'utf8');
}

function coverage() {
  const lineCoverage = Array.from({ length: 300 }, (_, index) => [
    index,
    pick([0, 0, 1, 2, -1], index),
  ]);
  return {
    status: 'COVERAGE_EXISTS',
    lineCoverage,
    coverageUrl: 'https://coverage.example/orders',
    provider: 'mock',
    reason: 'from branch main: Codecov does not know the commit',
    timings_ms: {},
  };
}

function sendText(response: ServerResponse, text: string): void {
  response.writeHead(200, { 'content-type': 'application/json' });
  response.end(text);
}

function sendJson(response: ServerResponse, body: unknown, status = 200): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}
