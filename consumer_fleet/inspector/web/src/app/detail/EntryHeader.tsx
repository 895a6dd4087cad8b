import { useEffect } from 'react';

import type { Summary } from '../../api/types';
import { CopyButton } from '../../context/CopyButton';
import { revealInvisibleText, SafeText } from '../../context/SafeText';
import type { EventModel } from '../../model/event';
import { readTimestampS } from '../../model/timestamp';
import { formatAgo, formatBytes, formatCount, formatMoment, isoTime } from '../format';
import { LevelMark } from '../LevelMark';
import { linkToIssue } from '../route';
import { BackButton } from './BackButton';
import { DeadLetterNotice, Delivery } from './Delivery';

interface Props {
  summary: Summary;
  /** How many stored entries are of the same issue. */
  sameIssue: number;
  event: EventModel | null;
  onBack: () => void;
}

export function EntryHeader({ summary, sameIssue, event, onBack }: Props) {
  const { id, event_id: eventId, title, culprit, level, type, project } = summary;

  useEffect(() => {
    document.title = `${revealInvisibleText(title) || 'Entry'} · Inspector`;
  }, [title]);

  return (
    <header className="entry-header">
      <BackButton onBack={onBack} />
      <p className="eyebrow">
        {level !== null && <LevelMark level={level} />}
        <span>
          <SafeText text={type} />
        </span>
        <span>
          project <SafeText text={project} />
        </span>
        {summary.platform !== null && (
          <span>
            <SafeText text={summary.platform} />
          </span>
        )}
        <span>{formatBytes(summary.size_bytes)}</span>
        {summary.issue !== null && sameIssue > 1 && (
          <a href={linkToIssue(summary.issue)}>
            {formatCount(sameIssue, 'event')} of the same issue
          </a>
        )}
      </p>
      <h2 id="entry-title" tabIndex={-1} className="entry-title">
        <SafeText text={title || '(no title)'} />
      </h2>
      {culprit !== '' && culprit !== title && (
        <p className="culprit">
          <SafeText text={culprit} />
        </p>
      )}
      {summary.dead_letter !== null && (
        <DeadLetterNotice deadLetter={summary.dead_letter} origin={summary.origin} />
      )}
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
        </time>{' '}
        <span className="dim">({formatAgo(timeS)})</span>
      </dd>
    </div>
  );
}
