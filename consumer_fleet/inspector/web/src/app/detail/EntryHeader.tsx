import { useEffect } from 'react';

import type { Summary } from '../../api/types';
import { CopyButton } from '../../context/CopyButton';
import { revealInvisibleText, SafeText } from '../../context/SafeText';
import type { EventModel } from '../../model/event';
import { readTimestampS } from '../../model/timestamp';
import { formatBytes, formatMoment, isoTime } from '../format';
import { LevelMark } from '../LevelMark';
import { DeadLetterNotice, Delivery } from './Delivery';

interface Props {
  summary: Summary;
  event: EventModel | null;
  onBack: () => void;
}

export function EntryHeader({ summary, event, onBack }: Props) {
  const { id, event_id: eventId, title, culprit, level, type, project } = summary;

  useEffect(() => {
    document.title = `${revealInvisibleText(title) || 'Entry'} · Inspector`;
  }, [title]);

  return (
    <header className="entry-header">
      <button type="button" className="back" onClick={onBack}>
        ← Events
      </button>
      <p className="eyebrow">
        {level !== null && <LevelMark level={level} />}
        <span>
          <SafeText text={type} />
        </span>
        <span>
          project <SafeText text={project} />
        </span>
        <span>{formatBytes(summary.size_bytes)}</span>
      </p>
      <h2 id="entry-title" tabIndex={-1} className="entry-title">
        <SafeText text={title || '(no title)'} />
      </h2>
      {culprit !== '' && (
        <p className="culprit">
          <SafeText text={culprit} />
        </p>
      )}
      {summary.dead_letter !== null && <DeadLetterNotice deadLetter={summary.dead_letter} />}
      <Facts id={id} eventId={eventId} receivedAtS={summary.received_at} event={event} />
      <Delivery summary={summary} />
    </header>
  );
}

interface FactsProps {
  id: number;
  eventId: string | null;
  receivedAtS: number;
  event: EventModel | null;
}

function Facts({ id, eventId, receivedAtS, event }: FactsProps) {
  const occurredS = event === null ? null : readTimestampS(event.timestamp);
  return (
    <dl className="facts" aria-label="Identity">
      <div className="fact">
        <dt>Event id</dt>
        <dd>
          {eventId === null ? (
            <span className="hint">none</span>
          ) : (
            <>
              <span className="mono">
                <SafeText text={eventId} />
              </span>
              <CopyButton label="Copy event id" text={() => eventId} />
            </>
          )}
        </dd>
      </div>
      <div className="fact">
        <dt>Entry</dt>
        <dd>
          {id} <CopyButton label="Copy link" text={() => window.location.href} />
        </dd>
      </div>
      {occurredS !== null && <TimeFact name="Occurred" timeS={occurredS} />}
      <TimeFact name="Received" timeS={receivedAtS} />
      {event?.facts.map(([name, value]) => (
        <div className="fact" key={name}>
          <dt>{name}</dt>
          <dd>
            <SafeText text={value} />
          </dd>
        </div>
      ))}
    </dl>
  );
}

function TimeFact({ name, timeS }: { name: string; timeS: number }) {
  return (
    <div className="fact">
      <dt>{name}</dt>
      <dd>
        <time dateTime={isoTime(timeS)} title={isoTime(timeS)}>
          {formatMoment(timeS)}
        </time>
      </dd>
    </div>
  );
}
