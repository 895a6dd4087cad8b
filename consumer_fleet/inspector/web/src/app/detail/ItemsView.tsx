import { useCallback, type ReactNode } from 'react';

import { fetchItemJson } from '../../api/client';
import type { Entry, EntryRef, EnvelopeItem } from '../../api/types';
import { ShowMore, usePages } from '../../context/pages';
import { SafeText } from '../../context/SafeText';
import { asArray, asObject, asText, isObject, type JsonValue, member } from '../../json';
import { readItemFacts, readMetrics } from '../../model/items';
import { readLogs } from '../../model/logs';
import { readProfile } from '../../model/profile';
import { readTimestampS } from '../../model/timestamp';
import { formatBytes, formatCount, formatDuration, formatTime, isoTime } from '../format';
import { LevelMark } from '../LevelMark';
import { linkTo } from '../route';
import { WithAttributes } from './Attributes';
import { FlameGraph } from './FlameGraph';
import { KeyValues } from './KeyValues';
import { Section } from './Section';
import { Table } from './Table';
import { useLoaded } from './useLoaded';

const ITEMS_PAGE_SIZE = 5;
// Larger payloads can only be downloaded: they would slow down the page.
export const MAX_SHOWN_BYTES = 1024 * 1024;
const TOP_FRAMES = 100;

/** A section for the payload; null if the payload is not of the item's type. */
type Render = (payload: JsonValue) => ReactNode;

// The readable types, with the name of their tab.
const TYPES: Record<string, { label: string; render: Render }> = {
  log: { label: 'Logs', render: renderLogs },
  trace_metric: { label: 'Metrics', render: renderMetrics },
  span: { label: 'Spans', render: renderSpans },
  profile: { label: 'Profile', render: renderProfile },
  profile_chunk: { label: 'Profile', render: renderProfile },
  check_in: { label: 'Check-in', render: renderFacts('check_in', 'Check-in') },
  session: { label: 'Session', render: renderFacts('session', 'Session') },
  sessions: { label: 'Sessions', render: renderFacts('sessions', 'Sessions') },
  user_report: { label: 'User report', render: renderFacts('user_report', 'User report') },
  client_report: { label: 'Client report', render: renderFacts('client_report', 'Client report') },
};

/** The items that are readable, other than the event and attachments. */
export function readableItems({ items }: Entry): EnvelopeItem[] {
  return items.filter(({ type }) => Object.hasOwn(TYPES, type));
}

export function itemsLabel(items: EnvelopeItem[]): string {
  const labels = new Set(items.map(({ type }) => TYPES[type]?.label ?? ''));
  return labels.size === 1 ? ([...labels][0] ?? '') : 'Items';
}

/** What the readable items of an envelope say. */
export function ItemsView({ entry }: { entry: Entry }) {
  const pages = usePages(readableItems(entry), { size: ITEMS_PAGE_SIZE });
  return (
    <>
      {pages.shown.map((item) => (
        <Item key={item.index} entry={entry.ref} item={item} />
      ))}
      <ShowMore pages={pages} what="items" className="wide-button" />
    </>
  );
}

function Item({ entry, item }: { entry: EntryRef; item: EnvelopeItem }) {
  const { index, type, size_bytes: sizeBytes } = item;
  const isShown = sizeBytes <= MAX_SHOWN_BYTES;
  const load = useCallback(
    async (signal: AbortSignal) => (isShown ? await fetchItemJson(entry, index, signal) : null),
    [entry, index, isShown],
  );
  const loaded = useLoaded(load);
  if (loaded.phase === 'loading') return <p className="hint">Loading…</p>;
  if (loaded.phase === 'failed') return <p role="alert">{loaded.failure}</p>;
  const shown = isShown ? TYPES[type]?.render(loaded.value) : null;
  if (shown !== null) return <>{shown}</>;
  const reason = isShown
    ? `is not a valid ${type}`
    : `is too large to show (${formatBytes(sizeBytes)})`;
  return <p className="hint">{`Item ${index} ${reason}. Download it from the envelope.`}</p>;
}

function renderLogs(payload: JsonValue): ReactNode {
  const logs = readLogs(payload);
  if (logs === null) return null;
  return (
    <Section title="Logs" note={formatCount(logs.length, 'log')}>
      <Table
        columns={['Time', 'Level', 'Message']}
        rows={logs}
        what="logs"
        render={({ timestamp, level, message, attributes }) => [
          <Time value={timestamp} />,
          level !== null && <LevelMark level={level} />,
          <WithAttributes
            text={message === '' ? '(no message)' : message}
            attributes={attributes}
          />,
        ]}
      />
    </Section>
  );
}

function renderMetrics(payload: JsonValue): ReactNode {
  const metrics = readMetrics(payload);
  if (metrics === null) return null;
  return (
    <Section title="Metrics" note={formatCount(metrics.length, 'metric')}>
      <Table
        columns={['Time', 'Kind', 'Value', 'Name']}
        rows={metrics}
        what="metrics"
        render={({ timestamp, kind, value, unit, name, attributes }) => [
          <Time value={timestamp} />,
          <SafeText text={kind} />,
          <span className="number">
            <SafeText text={`${value} ${unit}`.trim()} />
          </span>,
          <WithAttributes text={name === '' ? '(no name)' : name} attributes={attributes} />,
        ]}
      />
    </Section>
  );
}

function renderSpans(payload: JsonValue): ReactNode {
  // Older SDKs send one span an item.
  const items = member(payload, 'items');
  const spans = (items === undefined ? [payload] : asArray(items)).filter(isObject);
  if (spans.length === 0) return null;
  return (
    <Section title="Spans" note={formatCount(spans.length, 'span')}>
      <Table
        columns={['Start', 'Duration', 'Status', 'Name']}
        rows={spans}
        what="spans"
        render={(span) => {
          const startS = readTimestampS(span.start_timestamp);
          const endS = readTimestampS(span.end_timestamp ?? span.timestamp);
          const name = asText(span.name) ?? asText(span.description) ?? '(no name)';
          return [
            <Time value={span.start_timestamp} />,
            startS === null || endS === null ? '?' : formatDuration(endS - startS),
            <SafeText text={asText(span.status) ?? ''} />,
            <WithAttributes text={name} attributes={span} />,
          ];
        }}
      />
    </Section>
  );
}

function renderProfile(payload: JsonValue): ReactNode {
  const profile = readProfile(payload);
  if (profile === null) return null;
  const { durationS, samples, threads, frames, boxes } = profile;
  const percent = (count: number) => `${((count / samples) * 100).toFixed(1)} %`;
  const took = durationS === null ? '' : `${formatDuration(durationS)}, `;
  return (
    <Section
      title="Profile"
      note={`${took}${formatCount(samples, 'sample')}, ${formatCount(threads, 'thread')}`}
    >
      <FlameGraph boxes={boxes} samples={samples} />
      <p className="hint">
        Self: the share of samples in which the function itself ran. Total: with all that it called.
      </p>
      <Table
        columns={['Self', 'Total', 'Function']}
        rows={frames.slice(0, TOP_FRAMES)}
        what="functions"
        render={({ self, total, name, location, isInApp }) => [
          <span className="number">{percent(self)}</span>,
          <span className="number">{percent(total)}</span>,
          <>
            <SafeText text={name} />{' '}
            <span className="dim">
              <SafeText text={location} />
            </span>
            {isInApp && <span className="badge badge-app"> in app</span>}
          </>,
        ]}
      />
    </Section>
  );
}

function renderFacts(type: string, title: string): Render {
  return function renderItem(payload: JsonValue): ReactNode {
    if (!isObject(payload)) return null;
    const { facts, table } = readItemFacts(type, payload);
    const eventId = type === 'user_report' ? asText(payload.event_id) : null;
    return (
      <Section title={title}>
        <dl className="facts">
          {facts.map(([name, value]) => (
            <div className="fact" key={name}>
              <dt>{name}</dt>
              <dd>
                <SafeText text={value} />
              </dd>
            </div>
          ))}
        </dl>
        {eventId !== null && (
          <p>
            <EventLink eventId={eventId} />
          </p>
        )}
        {table !== null && (
          <Table
            columns={table.columns}
            rows={table.rows}
            what="rows"
            render={(row) => row.map((cell) => <SafeText text={cell} />)}
          />
        )}
        <details className="all-members">
          <summary>All members</summary>
          <KeyValues values={asObject(payload)} />
        </details>
      </Section>
    );
  };
}

/** A link to the event that a report or feedback is about. */
export function EventLink({ eventId }: { eventId: string }) {
  return (
    <a href={linkTo({ target: { eventId, entry: null } })}>
      Open the event <SafeText text={eventId} />
    </a>
  );
}

function Time({ value }: { value: JsonValue | undefined }) {
  const timeS = readTimestampS(value);
  if (timeS === null) return null;
  return (
    <time className="log-time" dateTime={isoTime(timeS)} title={isoTime(timeS)}>
      {formatTime(timeS)}
    </time>
  );
}
