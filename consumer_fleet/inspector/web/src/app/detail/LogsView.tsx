import { useCallback, useState } from 'react';

import { fetchItemJson } from '../../api/client';
import type { Entry, EntryRef, EnvelopeItem } from '../../api/types';
import { ShowMore, usePages } from '../../context/pages';
import { SafeText } from '../../context/SafeText';
import { readLogs, type Log } from '../../model/logs';
import { readTimestampS } from '../../model/timestamp';
import { formatBytes, formatCount, formatTime, isoTime } from '../format';
import { LevelMark } from '../LevelMark';
import { MAX_SHOWN_BYTES } from './EnvelopeView';
import { KeyValues } from './KeyValues';
import { Section } from './Section';
import { useLoaded } from './useLoaded';

const ITEMS_PAGE_SIZE = 5;
const ATTRIBUTES_PAGE_SIZE = 50;

export function logItems({ items }: Entry): EnvelopeItem[] {
  return items.filter(({ type }) => type === 'log');
}

/** The logs of an envelope: a table for each item that contains some. */
export function LogsView({ entry }: { entry: Entry }) {
  const pages = usePages(logItems(entry), { size: ITEMS_PAGE_SIZE });
  return (
    <>
      {pages.shown.map((item) => (
        <LogItem key={item.index} entry={entry.ref} item={item} />
      ))}
      <ShowMore pages={pages} what="items with logs" className="wide-button" />
    </>
  );
}

function LogItem({ entry, item }: { entry: EntryRef; item: EnvelopeItem }) {
  const { index, size_bytes: sizeBytes } = item;
  const isShown = sizeBytes <= MAX_SHOWN_BYTES;
  const load = useCallback(
    async (signal: AbortSignal) =>
      isShown ? readLogs(await fetchItemJson(entry, index, signal)) : null,
    [entry, index, isShown],
  );
  const loaded = useLoaded(load);
  if (loaded.phase === 'loading') return <p className="hint">Loading…</p>;
  if (loaded.phase === 'failed') return <p role="alert">{loaded.failure}</p>;
  if (loaded.value !== null) return <LogTable logs={loaded.value} />;
  const reason = isShown
    ? 'is not a list of logs'
    : `is too large to show (${formatBytes(sizeBytes)})`;
  return <p className="hint">{`Item ${index} ${reason}. Download it from the envelope.`}</p>;
}

function LogTable({ logs }: { logs: Log[] }) {
  const pages = usePages(logs);
  return (
    <Section title="Logs" note={formatCount(logs.length, 'log')}>
      <table className="logs">
        <thead>
          <tr>
            <th scope="col">Time</th>
            <th scope="col">Level</th>
            <th scope="col">Message</th>
          </tr>
        </thead>
        <tbody>
          {pages.shown.map((log, index) => (
            <LogRow key={index} log={log} />
          ))}
        </tbody>
      </table>
      <ShowMore pages={pages} what="logs" className="wide-button" />
    </Section>
  );
}

function LogRow({ log: { timestamp, level, message, attributes } }: { log: Log }) {
  const [isOpen, setIsOpen] = useState(false);
  const timeS = readTimestampS(timestamp);
  return (
    <tr>
      <td className="log-time" title={timeS === null ? undefined : isoTime(timeS)}>
        {timeS === null ? '' : formatTime(timeS)}
      </td>
      <td>{level !== null && <LevelMark level={level} />}</td>
      <td>
        <button
          type="button"
          className="log-message"
          aria-expanded={isOpen}
          onClick={() => {
            setIsOpen(!isOpen);
          }}
        >
          <SafeText text={message === '' ? '(no message)' : message} />
        </button>
        {isOpen && <KeyValues values={attributes} pageSize={ATTRIBUTES_PAGE_SIZE} />}
      </td>
    </tr>
  );
}
