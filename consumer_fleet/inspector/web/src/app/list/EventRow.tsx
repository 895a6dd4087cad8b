import { memo } from 'react';

import type { Summary } from '../../api/types';
import { SafeText } from '../../context/SafeText';
import { LevelMark } from '../LevelMark';
import { formatBriefly, formatMoment, isoTime } from '../format';

export const ROW_HEIGHT_PX = 58;
const MAX_TYPES = 10;

interface Props {
  summary: Summary;
  isSelected: boolean;
  position: number;
  total: number;
  offsetPx: number;
  onSelect: (summary: Summary) => void;
}

export function rowId(id: number): string {
  return `event-${id}`;
}

export const EventRow = memo(function EventRow({
  summary,
  isSelected,
  position,
  total,
  offsetPx,
  onSelect,
}: Props) {
  const { id, level, title, culprit, type, received_at: receivedAtS } = summary;
  return (
    <div
      id={rowId(id)}
      role="option"
      aria-selected={isSelected}
      aria-posinset={position}
      aria-setsize={total}
      className="event-row"
      data-level={level ?? 'none'}
      data-dead={summary.dead_letter !== null}
      // By the style object, not an attribute: the page's policy forbids inline styles.
      style={{ transform: `translateY(${offsetPx}px)`, height: ROW_HEIGHT_PX }}
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
        title={formatMoment(receivedAtS)}
      >
        {formatBriefly(receivedAtS)}
      </time>
      <span className="event-culprit">
        <SafeText text={culprit || typesOf(summary)} />
      </span>
      <span className="event-marks">
        {summary.dead_letter !== null && <span className="mark mark-dead">dead letter</span>}
        {summary.dead_letter === null && hasRefusal(summary) && (
          <span className="mark mark-refused">refused</span>
        )}
        <span className="mark">
          <SafeText text={type} />
        </span>
      </span>
    </div>
  );
});

/** Each type only once: an envelope may have thousands of items. */
function typesOf({ item_types: types }: Summary): string {
  return [...new Set(types)].slice(0, MAX_TYPES).join(', ');
}

function hasRefusal(summary: Summary): boolean {
  return summary.answers.some(({ status }) => status === null || status >= 300);
}
