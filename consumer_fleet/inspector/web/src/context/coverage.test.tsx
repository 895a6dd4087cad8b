import { act, screen } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { expect, test, vi } from 'vitest';

import type { CoverageAnswer } from './coverage';
import { CoverageCache, type CoverageAnswers, type FetchCoverage } from './coverageCache';
import { contextElement, EVENT, frame, renderContext } from './testing';

const FRAME = frame({
  lineNo: 2,
  absPath: '/srv/app/orders.py',
  module: 'app.orders',
  package: 'app',
  context: [
    [1, 'a'],
    [2, 'b'],
    [3, 'c'],
    [4, 'd'],
    [5, 'e'],
  ],
});

const ANSWER: CoverageAnswer = {
  status: 'COVERAGE_EXISTS',
  lineCoverage: [
    [1, 0],
    [2, 1],
    [3, 2],
    [4, -1],
    [99, 1],
  ],
};

function answering(answer: CoverageAnswer) {
  return vi.fn<FetchCoverage>(() => Promise.resolve(answer));
}

async function renderCovered(fetchCoverage: FetchCoverage, isExpanded = true, shown = FRAME) {
  const view = renderContext({
    frame: shown,
    hasContextSource: true,
    isExpanded,
    coverage: new CoverageCache(fetchCoverage),
  });
  // Let the answer arrive.
  await act(async () => Promise.resolve());
  return view;
}

function states(): (string | undefined)[] {
  return screen.getAllByTestId('context-line').map((line) => line.dataset.coverage);
}

test('each line is covered, uncovered, partial or none', async () => {
  await renderCovered(answering(ANSWER));
  expect(states()).toEqual(['covered', 'uncovered', 'partial', 'none', 'none']);
});

test('marks have tooltips for screen readers', async () => {
  await renderCovered(answering(ANSWER));
  const descriptions = screen
    .getAllByRole('note')
    .map((mark) => document.getElementById(mark.getAttribute('aria-describedby') ?? ''))
    .map((tooltip) => tooltip?.textContent);
  expect(descriptions).toEqual(['Covered', 'Uncovered', 'Partially Covered']);
});

test('the keyboard reaches tooltips, from the active line up and down', async () => {
  await renderCovered(answering(ANSWER));
  const user = userEvent.setup();
  const shown = () => screen.queryByRole('tooltip')?.textContent ?? null;
  expect(shown()).toBeNull();
  await user.tab();
  await user.tab();
  expect(shown()).toBe('Uncovered');
  await user.keyboard('{ArrowDown}');
  expect(shown()).toBe('Partially Covered');
  await user.keyboard('{ArrowUp}{ArrowUp}');
  expect(shown()).toBe('Covered');
  await user.keyboard('{Escape}');
  expect(shown()).toBeNull();
});

test("the coverage request has all known facts of the frame's file", async () => {
  const fetchCoverage = answering(ANSWER);
  await renderCovered(fetchCoverage);
  expect(fetchCoverage.mock.calls[0]?.[0]).toEqual({
    file: 'app/orders.py',
    commit: EVENT.commit,
    sdkName: 'sentry.python',
    absPath: '/srv/app/orders.py',
    module: 'app.orders',
    package: 'app',
  });
});

test('a collapsed frame does not request coverage', async () => {
  const fetchCoverage = answering(ANSWER);
  await renderCovered(fetchCoverage, false);
  expect(fetchCoverage).not.toHaveBeenCalled();
});

test('without access to coverage, lines have no marks', () => {
  renderContext({ frame: FRAME, hasContextSource: true, isExpanded: true });
  expect(states()).toEqual(['none', 'none', 'none', 'none', 'none']);
});

test('coverage is not requested again for the same file and commit', async () => {
  const fetchCoverage = answering(ANSWER);
  const props = {
    frame: FRAME,
    hasContextSource: true,
    coverage: new CoverageCache(fetchCoverage),
  };
  const { rerender } = renderContext({ ...props, isExpanded: true });
  rerender(contextElement({ ...props, isExpanded: false }));
  rerender(contextElement({ ...props, isExpanded: true }));
  renderContext({ ...props, isExpanded: true, frame: { ...FRAME, lineNo: 3 } });
  await act(async () => Promise.resolve());
  expect(fetchCoverage).toHaveBeenCalledTimes(1);
  const otherCommit = { ...EVENT, commit: 'b'.repeat(40) };
  renderContext({ ...props, isExpanded: true, event: otherCommit });
  await act(async () => Promise.resolve());
  expect(fetchCoverage).toHaveBeenCalledTimes(2);
});

test('a failed request for coverage is not retried', async () => {
  const fetchCoverage = vi.fn<FetchCoverage>(() => Promise.reject(new Error('down')));
  const props = {
    frame: FRAME,
    hasContextSource: true,
    coverage: new CoverageCache(fetchCoverage),
  };
  const { rerender } = renderContext({ ...props, isExpanded: true });
  await act(async () => Promise.resolve());
  rerender(contextElement({ ...props, isExpanded: false }));
  rerender(contextElement({ ...props, isExpanded: true }));
  await act(async () => Promise.resolve());
  expect(fetchCoverage).toHaveBeenCalledTimes(1);
  expect(states()).toEqual(['none', 'none', 'none', 'none', 'none']);
});

test('a coverage request is aborted after its time limit', async () => {
  const cache = new CoverageCache(
    (_, signal) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => {
          reject(new Error('aborted'));
        });
      }),
    { timeLimitMs: 10 },
  );
  const query = {
    file: 'a',
    commit: 'c',
    sdkName: null,
    absPath: null,
    module: null,
    package: null,
  };
  await expect(cache.lookup(query)).resolves.toBeNull();
});

test('without a commit, answers are not shared between events', async () => {
  const fetchCoverage = answering(ANSWER);
  const shared: CoverageAnswers = new Map();
  const query = { file: 'a', sdkName: null, absPath: null, module: null, package: null };
  for (const commit of [null, null, 'c', 'c']) {
    await new CoverageCache(fetchCoverage, { shared }).lookup({ ...query, commit });
  }
  expect(fetchCoverage).toHaveBeenCalledTimes(3);
});

test('coverage is not used while it is loading', async () => {
  let answer: (value: CoverageAnswer) => void = () => undefined;
  await renderCovered(
    () =>
      new Promise((resolve) => {
        answer = resolve;
      }),
  );
  expect(new Set(states())).toEqual(new Set(['none']));
  await act(async () => {
    answer(ANSWER);
    return Promise.resolve();
  });
  expect(states()).toContain('covered');
});

test.each(['NO_COVERAGE_DATA', 'NO_INTEGRATION'] as const)(
  'coverage is not used when the status is %s',
  async (status) => {
    await renderCovered(answering({ ...ANSWER, status }));
    expect(new Set(states())).toEqual(new Set(['none']));
  },
);

test('coverage is not used without an active line', async () => {
  await renderCovered(answering(ANSWER), true, { ...FRAME, lineNo: null });
  expect(new Set(states())).toEqual(new Set(['none']));
});

const note = () => document.querySelector('.fc-coverage-note')?.textContent ?? null;
const BRANCH = 'of branch main: Codecov does not know commit 0123';

test('a remark on the colours is shown below the source', async () => {
  await renderCovered(answering({ ...ANSWER, reason: BRANCH }));
  expect(note()).toBe(`Coverage${BRANCH}`);
  expect(document.querySelector('.fc-source + .fc-coverage-note')).not.toBeNull();
});

test.each(['NO_COVERAGE_DATA', 'NO_INTEGRATION'] as const)(
  'the reason for missing colours is shown if the status is %s',
  async (status) => {
    await renderCovered(answering({ status, lineCoverage: [], reason: 'refused\u202e <b>' }));
    expect(note()).toBe('CoveragerefusedU+202E <b>');
  },
);

test.each(['https://codecov.example/x', 'javascript:alert(1)'])(
  "the report's address can be copied and is not a link: %s",
  async (coverageUrl) => {
    const user = userEvent.setup();
    await renderCovered(answering({ ...ANSWER, coverageUrl }));
    expect(note()).toContain(coverageUrl);
    expect(screen.queryByRole('link')).toBeNull();
    await user.click(screen.getByRole('button', { name: 'Copy report URL' }));
    expect(await navigator.clipboard.readText()).toBe(coverageUrl);
  },
);

test('no note is shown for coverage without a remark, or if it is not used', async () => {
  await renderCovered(answering({ ...ANSWER, reason: null, coverageUrl: null }));
  await renderCovered(answering(ANSWER));
  await renderCovered(answering({ ...ANSWER, reason: BRANCH }), true, { ...FRAME, lineNo: null });
  await renderCovered(answering({ ...ANSWER, reason: BRANCH }), false);
  expect(note()).toBeNull();
});
