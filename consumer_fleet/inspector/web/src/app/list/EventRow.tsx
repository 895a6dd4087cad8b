import { memo } from 'react';

import type { Summary } from '../../api/types';
import { SafeText } from '../../context/SafeText';
import { LevelMark } from '../LevelMark';
import { formatAgo, formatBriefly, formatCount, formatMoment, isoTime } from '../format';

export const ROW_HEIGHT_PX = 58;
const MAX_TYPES = 10;

interface Props {
  summary: Summary;
  isSelected: boolean;
  /** In a grouped list, how many events the entry stands for. */
  repeats: number;
  position: number;
  total: number;
  offsetPx: number;
  onSelect: (summary: Summary) => void;
  /** For rows whose height depends on their text. */
  measure: (row: HTMLElement | null) => void;
}

export function rowId(id: number): string {
  return `event-${id}`;
}

export const EventRow = memo(function EventRow({
  summary,
  isSelected,
  repeats,
  position,
  total,
  offsetPx,
  onSelect,
  measure,
}: Props) {
  const { id, level, title, type, received_at: receivedAtS } = summary;
  const deadLetter = summary.dead_letter;
  return (
    <div
      id={rowId(id)}
      role="option"
      aria-selected={isSelected}
      aria-posinset={position}
      aria-setsize={total}
      className="event-row"
      data-level={level ?? 'none'}
      data-dead={deadLetter !== null}
      // By the style object, not an attribute: the page's policy forbids inline styles.
      style={{ transform: `translateY(${offsetPx}px)`, minHeight: ROW_HEIGHT_PX }}
      data-index={position - 1}
      ref={deadLetter === null ? undefined : measure}
      onClick={() => {
        onSelect(summary);
      }}
    >
      <span className="event-title">
        {level !== null && (
          <>
            <LevelMark level={level} />{' '}
          </>
        )}
        <SafeText text={title || '(no title)'} />
      </span>
      <time
        className="event-time"
        dateTime={isoTime(receivedAtS)}
        title={`${formatMoment(receivedAtS)} (${formatAgo(receivedAtS)})`}
      >
        {formatBriefly(receivedAtS)}
      </time>
      <span className="event-culprit">
        <SafeText text={whereOf(summary)} />
      </span>
      <span className="event-marks">
        {repeats > 1 && <span className="mark mark-repeats">{formatCount(repeats, 'event')}</span>}
        {deadLetter !== null && <span className="mark mark-dead">dead letter</span>}
        {deadLetter === null && hasRefusal(summary) && (
          <span className="mark mark-refused">refused</span>
        )}
        <span className="mark">
          <SafeText text={type} />
        </span>
      </span>
      {deadLetter !== null && (
        <span className="event-reason">
          <SafeText text={deadLetter.reason} />
          {deadLetter.detail !== null && deadLetter.detail !== '' && (
            <>
              : <SafeText text={deadLetter.detail} />
            </>
          )}
        </span>
      )}
    </div>
  );
});

/** Where it happened, as far as the rest of the row does not say it. */
function whereOf({ culprit, title, item_types: types, platform, project }: Summary): string {
  // Each type only once: an envelope may have thousands of items.
  const kinds = [...new Set(types)].slice(0, MAX_TYPES);
  const what = culprit === title || culprit === '' ? '' : culprit;
  const parts = [
    what || (kinds.length > 1 ? kinds.join(', ') : ''),
    platform,
    `project ${project}`,
  ];
  return parts.filter((part) => part !== null && part !== '').join(' · ');
}

function hasRefusal(summary: Summary): boolean {
  return summary.answers.some(({ status }) => status === null || status >= 300);
}
