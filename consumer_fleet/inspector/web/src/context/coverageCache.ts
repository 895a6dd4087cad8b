import type { CoverageAnswer, CoverageQuery } from './coverage.ts';

/** Requests coverage. Must stop when `signal` aborts. */
export type FetchCoverage = (query: CoverageQuery, signal: AbortSignal) => Promise<CoverageAnswer>;

export type CoverageAnswers = Map<string, Promise<CoverageAnswer | null>>;

interface Options {
  timeLimitMs?: number;
  /** Answers shared with other caches: those with a known commit. */
  shared?: CoverageAnswers;
}

const TIME_LIMIT_MS = 10_000;

/** Coverage for all frames of an event: each file of a commit is requested once.
 *
 * A failure is cached like an answer: opening a frame again does not repeat the request.
 */
export class CoverageCache {
  readonly #fetchCoverage: FetchCoverage;
  readonly #timeLimitMs: number;
  readonly #shared: CoverageAnswers;
  // Without a commit, the same name may mean another file in another event.
  readonly #own: CoverageAnswers = new Map();

  constructor(fetchCoverage: FetchCoverage, options: Options = {}) {
    this.#fetchCoverage = fetchCoverage;
    this.#timeLimitMs = options.timeLimitMs ?? TIME_LIMIT_MS;
    this.#shared = options.shared ?? new Map<string, Promise<CoverageAnswer | null>>();
  }

  /** The answer, or null after a failure. Never rejects. */
  lookup(query: CoverageQuery): Promise<CoverageAnswer | null> {
    const answers = query.commit === null ? this.#own : this.#shared;
    const key = JSON.stringify(query);
    const known = answers.get(key);
    if (known !== undefined) return known;
    const signal = AbortSignal.timeout(this.#timeLimitMs);
    const answer = this.#fetchCoverage(query, signal).catch(() => null);
    answers.set(key, answer);
    return answer;
  }
}
