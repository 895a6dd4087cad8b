import { useCallback, useMemo } from 'react';

import { fetchTrace } from '../../api/client';
import type { EntryRef, Trace } from '../../api/types';
import { CopyButton } from '../../context/CopyButton';
import { ShowMore, usePages } from '../../context/pages';
import { buildTrace } from '../../model/trace';
import { formatCount, formatDuration, formatMoment, formatOffset } from '../format';
import { linkTo } from '../route';
import { Section } from './Section';
import { MarkLink } from './TraceLinks';
import { useLoaded } from './useLoaded';
import { Waterfall } from './Waterfall';

interface Props {
  /** Null for the spans of an entry that has no trace. */
  traceId: string | null;
  /** The entry that is open, if one is. */
  entry: EntryRef | null;
  /** The trace, if it was requested with the entry. */
  first?: Promise<Trace> | null;
}

/** A trace of all stored entries: its spans as a waterfall, its errors and logs as links. */
export function TraceView({ traceId, entry, first = null }: Props) {
  const load = useCallback(
    (signal: AbortSignal) => first ?? fetchTrace(traceId, entry, signal),
    [traceId, entry, first],
  );
  const loaded = useLoaded(load);
  if (loaded.phase === 'loading') return <p className="hint">Loading the trace …</p>;
  if (loaded.phase === 'failed') return <p role="alert">{loaded.failure}</p>;
  return <LoadedTrace trace={loaded.value} entryId={entry?.id ?? null} />;
}

/** Links to the traces of an envelope that is part of several. */
export function TraceList({ traceIds }: { traceIds: string[] }) {
  const pages = usePages(traceIds);
  return (
    <Section title="Traces" note={formatCount(traceIds.length, 'trace')}>
      <ul className="trace-marks">
        {pages.shown.map((traceId) => (
          <li key={traceId}>
            <a className="mono" href={linkTo({ traceId })}>
              {traceId}
            </a>
          </li>
        ))}
      </ul>
      <ShowMore pages={pages} what="traces" className="wide-button" />
    </Section>
  );
}

function LoadedTrace({ trace, entryId }: { trace: Trace; entryId: number | null }) {
  const { spans, marks, total_spans: totalSpans, trace_id: traceId } = trace;
  const { nodes, axis } = useMemo(() => buildTrace(spans, marks), [spans, marks]);
  const hasProblems = useMemo(() => nodes.some(({ problems }) => problems.length > 0), [nodes]);
  return (
    <>
      <Section title="Trace" note={traceNote(trace)}>
        <p className="trace-facts">
          {traceId === null ? (
            <span className="hint">
              Only the spans of this entry: it has no trace id, or is too large to be indexed.
            </span>
          ) : (
            <>
              <span className="dim">Trace id</span> <span className="mono">{traceId}</span>{' '}
              <CopyButton label="Copy trace id" text={() => traceId} />
            </>
          )}
        </p>
        {axis !== null && (
          <p className="trace-facts">
            <span className="dim">Starts</span> {formatMoment(axis.startS)}{' '}
            <span className="dim">takes</span> {formatDuration(axis.endS - axis.startS)}
          </p>
        )}
        {!trace.is_complete && (
          <p className="hint">Only the newest entries of the trace are shown.</p>
        )}
        {totalSpans > spans.length && (
          <p className="hint">
            Only the first {formatCount(spans.length, 'span')} are shown of{' '}
            {totalSpans.toLocaleString('en')}.
          </p>
        )}
        {hasProblems && (
          <p className="hint">
            Some spans contradict each other; they are drawn as sent. Select one to read why.
          </p>
        )}
        {nodes.length === 0 ? (
          <p className="hint">No span of this trace is stored.</p>
        ) : (
          <Waterfall trace={trace} nodes={nodes} axis={axis} entryId={entryId} />
        )}
      </Section>
      <Marks trace={trace} startS={axis?.startS ?? null} />
    </>
  );
}

function traceNote({ entries, total_spans: spans }: Trace): string {
  const count = Object.keys(entries).length;
  return `${formatCount(spans, 'span')}, ${formatCount(count, 'entry', 'entries')}`;
}

function Marks({ trace, startS }: { trace: Trace; startS: number | null }) {
  const { total_marks: total } = trace;
  const marks = useMemo(
    () => [...trace.marks].sort((a, b) => (a.at ?? 0) - (b.at ?? 0)),
    [trace.marks],
  );
  const pages = usePages(marks);
  if (marks.length === 0) return null;
  return (
    <Section title="Errors and logs" note={total.toLocaleString('en')}>
      <ol className="trace-marks" aria-label="Errors and logs of the trace">
        {pages.shown.map((mark, index) => (
          <li key={index}>
            <span className="log-time">
              {mark.at === null || startS === null ? '' : formatOffset(mark.at - startS)}
            </span>
            <MarkLink trace={trace} mark={mark} />
          </li>
        ))}
      </ol>
      <ShowMore pages={pages} what="errors and logs" className="wide-button" />
      {total > marks.length && (
        <p className="hint">Only the first {marks.length.toLocaleString('en')} are shown.</p>
      )}
    </Section>
  );
}
