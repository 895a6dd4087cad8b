import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from 'react';

import { clearEntries } from '../api/client';
import type { EntryRef, Filters, Summary } from '../api/types';
import type { CoverageAnswers } from '../context/coverageCache';
import { SafeText } from '../context/SafeText';
import { BackButton } from './detail/BackButton';
import { DetailState, EntryDetail } from './detail/EntryDetail';
import { TraceView } from './detail/TraceView';
import type { Loaded } from './detail/useLoaded';
import type { FeedSnapshot } from './list/eventFeed';
import { ListPane } from './list/ListPane';
import { useFeed } from './list/useFeed';
import { SourceContext } from './stacktrace/frameSource';
import { TopBar } from './TopBar';
import type { Target } from './route';
import { useRoute } from './useRoute';
import { useStatus } from './useStatus';
import { useTarget } from './useTarget';

export function App() {
  const [route, navigate] = useRoute();
  const [snapshot, feed] = useFeed(route.filters);
  const status = useStatus(snapshot.connection);
  const coverageAnswers = useCoverageAnswers(snapshot.restarts);
  const target = useTarget(route.target, snapshot.store);
  const { filters, traceId } = route;
  const { store } = snapshot;

  const select = useCallback(
    ({ event_id: eventId, id }: Summary) => {
      if (store === null) return;
      const entry = { store, id };
      // Arrow keys in the list must not fill the browser's history.
      navigate({ target: { eventId, entry }, filters }, route.target === null ? 'push' : 'replace');
    },
    [navigate, filters, route.target, store],
  );
  const applyFilters = useCallback(
    (next: Filters) => {
      navigate({ target: route.target, traceId, filters: next }, 'replace');
    },
    [navigate, route.target, traceId],
  );
  const goBack = useCallback(() => {
    navigate({ target: null, filters });
  }, [navigate, filters]);

  const clear = useCallback(() => {
    clearEntries().then(
      (cleared) => {
        feed.noteStore(cleared);
      },
      () => {
        // The list still has its entries, and the connection's state says why.
      },
    );
  }, [feed]);

  useEffect(() => {
    feed.noteStore(status?.store);
  }, [feed, status?.store]);

  const hasRoot = status?.source_root ?? false;
  const editorLink = status?.editor_link ?? null;
  const source = useMemo(() => ({ hasRoot, editorLink }), [hasRoot, editorLink]);
  const selected = target.phase === 'ready' ? target.value : null;
  const view = route.target === null && traceId === undefined ? 'list' : 'detail';
  useKeptFocus(view);
  return (
    <div className="page" data-view={view}>
      <a className="skip-link" href="#entry" onClick={focusEntry}>
        Skip to the event
      </a>
      <TopBar status={status} connection={snapshot.connection} />
      <Banners snapshot={snapshot} problem={status?.source.problem ?? null} />
      <ListPane
        snapshot={snapshot}
        feed={feed}
        status={status}
        filters={filters}
        selectedId={selected?.id ?? null}
        onFilter={applyFilters}
        onSelect={select}
        onEnter={focusEntry}
        onClear={clear}
      />
      <main id="entry" className="detail-pane" tabIndex={-1} aria-label="Event">
        {traceId !== undefined ? (
          <>
            <BackButton onBack={goBack} />
            <TraceView key={traceId} traceId={traceId} entry={null} />
          </>
        ) : selected !== null ? (
          <SourceContext value={source}>
            <EntryDetail
              key={`${selected.store}-${selected.id}`}
              entry={selected}
              coverageAnswers={status?.coverage === true ? coverageAnswers : null}
              onBack={goBack}
            />
          </SourceContext>
        ) : (
          <NoEntry
            target={route.target}
            state={target}
            failure={snapshot.failure}
            onBack={goBack}
          />
        )}
      </main>
    </div>
  );
}

/** The cache of coverage answers; a restarted server gets an empty one. */
function useCoverageAnswers(restarts: number): CoverageAnswers {
  const [known, setKnown] = useState({ restarts, answers: newAnswers() });
  if (known.restarts === restarts) return known.answers;
  const answers = newAnswers();
  setKnown({ restarts, answers });
  return answers;
}

function newAnswers(): CoverageAnswers {
  return new Map();
}

/** A narrow page shows the list or an event: move the focus to the visible one. */
function useKeptFocus(view: 'list' | 'detail') {
  const lastView = useRef(view);
  useLayoutEffect(() => {
    if (lastView.current === view) return;
    lastView.current = view;
    const pane = document.activeElement?.closest('.list-pane, .detail-pane');
    const isLost =
      document.activeElement === document.body ||
      (pane instanceof Element && getComputedStyle(pane).display === 'none');
    if (!isLost) return;
    if (view === 'detail') focusEntry();
    else document.querySelector<HTMLElement>('[role=listbox]')?.focus();
  }, [view]);
}

interface BannersProps {
  snapshot: FeedSnapshot;
  problem: string | null;
}

function Banners({ snapshot, problem }: BannersProps) {
  const isCutOff = snapshot.connection === 'disconnected' && snapshot.phase === 'ready';
  return (
    <div className="banners">
      {isCutOff && (
        <p className="banner" role="alert">
          Lost connection to the inspector. Events may be out of date. Reconnecting …
        </p>
      )}
      {problem !== null && (
        <p className="banner" role="alert">
          The source has failed: <SafeText text={problem} />
        </p>
      )}
    </div>
  );
}

function focusEntry(event?: { preventDefault: () => void }) {
  // Following the link would change the fragment, which is the route.
  event?.preventDefault();
  document.getElementById('entry')?.focus();
}

const NO_EVENT =
  'This event is not stored: it was evicted or deleted, the inspector has restarted, or it never arrived.';
const NO_ENTRY =
  'This entry is no longer stored: it was deleted, or the link is from an earlier run of the inspector.';

interface NoEntryProps {
  target: Target | null;
  state: Loaded<EntryRef | null>;
  /** Why the list, which names the store, could not be loaded. */
  failure: string | null;
  onBack: () => void;
}

function NoEntry({ target, state, failure, onBack }: NoEntryProps) {
  if (target === null) {
    return (
      <div className="detail-state detail-hint">
        <p>Select an event.</p>
        <p className="dim">
          <kbd>↑</kbd> <kbd>↓</kbd> to move, <kbd>Enter</kbd> to open, <kbd>/</kbd> to search
        </p>
      </div>
    );
  }
  const text = {
    loading: failure ?? 'Searching for the event …',
    ready: target.eventId === null ? NO_ENTRY : NO_EVENT,
    failed: state.phase === 'failed' ? state.failure : '',
  }[state.phase];
  return <DetailState onBack={onBack}>{text}</DetailState>;
}
