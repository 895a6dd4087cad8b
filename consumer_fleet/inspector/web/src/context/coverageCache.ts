import type { CoverageAnswer, CoverageQuery } from './coverage.ts';

/** Asks where coverage is kept. Must give up when `signal` aborts. */
export type FetchCoverage = (query: CoverageQuery, signal: AbortSignal) => Promise<CoverageAnswer>;

export type CoverageAnswers = Map<string, Promise<CoverageAnswer | null>>;

interface Options {
  timeLimitMs?: number;
  /** Answers that other caches know and may use: those whose commit is known. */
  shared?: CoverageAnswers;
}

const TIME_LIMIT_MS = 10_000;

/** Access to coverage, shared by all frames of an event: each file of a commit is asked for once.
 *
 * A failure is kept like an answer: a frame that opens again does not ask a broken server again.
 */
export class CoverageCache {
  readonly #fetchCoverage: FetchCoverage;
  readonly #timeLimitMs: number;
  readonly #shared: CoverageAnswers;
  // Without a commit, the same name may be another file in another event.
  readonly #own: CoverageAnswers = new Map();

  constructor(fetchCoverage: FetchCoverage, options: Options = {}) {
    this.#fetchCoverage = fetchCoverage;
    this.#timeLimitMs = options.timeLimitMs ?? TIME_LIMIT_MS;
    this.#shared = options.shared ?? new Map<string, Promise<CoverageAnswer | null>>();
  }

  /** The answer, or null where there is none. Never rejects. */
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
