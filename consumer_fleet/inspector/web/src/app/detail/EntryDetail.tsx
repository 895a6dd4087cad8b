import { useCallback, useMemo, useState, type ReactNode } from 'react';

import { fetchCoverage, fetchEntry, fetchItemJson, fetchTrace } from '../../api/client';
import type { Entry, EntryRef, Trace } from '../../api/types';
import { CoverageCache, type CoverageAnswers } from '../../context/coverageCache';
import type { JsonValue } from '../../json';
import type { EventModel } from '../../model/event';
import { readEvent } from '../../model/normalise';
import { formatBytes } from '../format';
import { Attachments } from './Attachments';
import { BackButton } from './BackButton';
import { EntryHeader } from './EntryHeader';
import { EnvelopeView } from './EnvelopeView';
import { EventView } from './EventView';
import { itemsLabel, ItemsView, readableItems } from './ItemsView';
import { JsonView } from './JsonView';
import { TraceList, TraceView } from './TraceView';
import { Tabs, type Tab } from './Tabs';
import { Undecodable } from './Undecodable';
import { useLoaded } from './useLoaded';

// A larger event would freeze the page for more than a second.
const MAX_EVENT_BYTES = 4 * 1024 * 1024;

interface Props {
  entry: EntryRef;
  /** Cached coverage answers; null if the server has no coverage. */
  coverageAnswers: CoverageAnswers | null;
  onBack: () => void;
}

/** The event's payload; an unreadable one must not hide the rest of the entry. */
type Payload = { value: JsonValue } | { failure: string } | null;

interface Contents {
  entry: Entry;
  /** Undefined while a transaction's is loaded: its trace is drawn without it. */
  payload: Payload | undefined;
  /** Of a transaction; null if it has several. */
  trace: Promise<Trace> | null;
}

async function loadContents(ref: EntryRef, signal: AbortSignal): Promise<Contents> {
  const entry = await fetchEntry(ref, signal);
  if (!isTransaction(entry)) {
    return { entry, payload: await loadPayload(entry, signal), trace: null };
  }
  const [traceId = null, ...others] = entry.traces;
  const trace = others.length > 0 ? null : fetchTrace(traceId, ref, signal);
  return { entry, payload: undefined, trace };
}

async function loadPayload(entry: Entry, signal: AbortSignal): Promise<Payload> {
  const event = entry.event === null ? undefined : entry.items[entry.event];
  if (event === undefined) return null;
  if (event.size_bytes > MAX_EVENT_BYTES) {
    const size = formatBytes(event.size_bytes);
    return { failure: `It is too large to display (${size}): download it.` };
  }
  try {
    return { value: await fetchItemJson(entry.ref, event.index, signal) };
  } catch (error) {
    return { failure: error instanceof Error ? error.message : String(error) };
  }
}

function isTransaction({ summary }: Entry): boolean {
  return summary.type === 'transaction';
}

/** One entry: its event and envelope, its origin, and its delivery. */
export function EntryDetail({ entry, coverageAnswers, onBack }: Props) {
  const load = useCallback((signal: AbortSignal) => loadContents(entry, signal), [entry]);
  const loaded = useLoaded(load);
  if (loaded.phase === 'loading') return <DetailState onBack={onBack}>Loading…</DetailState>;
  if (loaded.phase === 'failed') {
    return (
      <DetailState onBack={onBack}>
        <span role="alert">{loaded.failure}</span>
      </DetailState>
    );
  }
  return <LoadedEntry contents={loaded.value} coverageAnswers={coverageAnswers} onBack={onBack} />;
}

interface StateProps {
  onBack: () => void;
  children: ReactNode;
}

export function DetailState({ onBack, children }: StateProps) {
  return (
    <div className="detail-state">
      <BackButton onBack={onBack} />
      <p>{children}</p>
    </div>
  );
}

interface LoadedProps {
  contents: Contents;
  coverageAnswers: CoverageAnswers | null;
  onBack: () => void;
}

function LoadedEntry({ contents, coverageAnswers, onBack }: LoadedProps) {
  const { entry } = contents;
  const firstTrace = contents.trace;
  const loadLater = useCallback(
    async (signal: AbortSignal) => {
      // The trace is drawn first.
      await firstTrace?.catch(() => null);
      return loadPayload(entry, signal);
    },
    [entry, firstTrace],
  );
  const later = useLoaded(contents.payload === undefined ? loadLater : null);
  const payload = later.phase === 'ready' ? later.value : contents.payload;
  const event = useMemo(
    () => (payload && 'value' in payload ? readEvent(payload.value) : null),
    [payload],
  );
  const entryId = entry.summary.id;
  const coverage = useMemo(() => {
    if (coverageAnswers === null) return null;
    return new CoverageCache((query, signal) => fetchCoverage(entryId, query, signal), {
      shared: coverageAnswers,
    });
  }, [coverageAnswers, entryId]);
  const [tab, setTab] = useState('');

  const tabs: Tab[] = [];
  const { traces } = entry;
  const trace: Tab = {
    name: 'trace',
    label: traces.length > 1 ? 'Traces' : 'Trace',
    render: () =>
      traces.length > 1 ? (
        <TraceList traceIds={traces} />
      ) : (
        <TraceView
          traceId={traces[0] ?? null}
          entry={entry.ref}
          first={tab === '' ? firstTrace : null}
        />
      ),
  };
  if (isTransaction(entry)) tabs.push(trace);
  if (event !== null || payload === undefined) {
    const whenLoaded = (draw: (loaded: EventModel) => ReactNode) => () =>
      event === null ? <p className="hint">Loading the event …</p> : draw(event);
    tabs.push(
      {
        name: 'event',
        label: 'Event',
        render: whenLoaded((loaded) => (
          <EventView event={loaded} coverage={coverage}>
            <Attachments entry={entry} />
          </EventView>
        )),
      },
      {
        name: 'json',
        label: 'JSON',
        render: whenLoaded((loaded) => <JsonView value={loaded.raw} label="event" />),
      },
    );
  }
  const readable = readableItems(entry);
  const hasAttachments = entry.items.some(({ type }) => type === 'attachment');
  if (readable.length > 0 || (event === null && hasAttachments)) {
    tabs.push({
      name: 'items',
      label: readable.length > 0 ? itemsLabel(readable) : 'Attachments',
      render: () => (
        <>
          <ItemsView entry={entry} />
          {event === null && <Attachments entry={entry} />}
        </>
      ),
    });
  }
  if (!isTransaction(entry) && traces.length > 0) tabs.push(trace);
  if (entry.undecodable === null) {
    tabs.push({
      name: 'envelope',
      label: 'Envelope',
      render: () => <EnvelopeView entry={entry} />,
    });
  }
  return (
    <>
      <EntryHeader
        summary={entry.summary}
        sameIssue={entry.same_issue}
        event={event}
        onBack={onBack}
      />
      {payload && 'failure' in payload && (
        <section className="notice" data-tone="bad" role="alert">
          <p className="notice-title">The event can’t be displayed</p>
          <p>{payload.failure}</p>
        </section>
      )}
      {entry.undecodable !== null && <Undecodable entry={entry} problem={entry.undecodable} />}
      {tabs.length > 0 && (
        <Tabs label="Parts of the entry" tabs={tabs} selected={tab} onSelect={setTab} />
      )}
    </>
  );
}
