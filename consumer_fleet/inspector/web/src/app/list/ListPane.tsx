import { useState } from 'react';

import { NO_FILTERS, type Filters, type Status, type Summary } from '../../api/types';
import { formatCount } from '../format';
import { EventList } from './EventList';
import { isFiltered, type EventFeed, type FeedSnapshot } from './eventFeed';
import { FilterBar } from './FilterBar';
import { NoEvents } from './NoEvents';
import { useChoices } from './useChoices';

interface Props {
  snapshot: FeedSnapshot;
  feed: EventFeed;
  status: Status | null;
  filters: Filters;
  selectedId: number | null;
  onFilter: (filters: Filters) => void;
  onSelect: (summary: Summary) => void;
  onEnter: () => void;
  /** Called to delete all entries, after the user has confirmed it. */
  onClear: () => void;
}

export function ListPane({
  snapshot,
  feed,
  status,
  filters,
  selectedId,
  onFilter,
  onSelect,
  onEnter,
  onClear,
}: Props) {
  const choices = useChoices(status?.counts.accepted ?? null, snapshot.store);
  const { phase, rows, pending, total, failure } = snapshot;
  return (
    <section className="list-pane" aria-labelledby="events-heading">
      <div className="list-head">
        <h2 id="events-heading">Events</h2>
        <span className="list-actions">
          <span className="list-count" role="status" data-testid="event-count">
            {phase === 'ready' && formatCount(total, filters.isGrouped ? 'group' : 'event')}
          </span>
          {total > 0 && <ClearButton onClear={onClear} />}
        </span>
      </div>
      <FilterBar filters={filters} choices={choices} onChange={onFilter} />
      {pending.length > 0 && (
        <button
          type="button"
          className="pending"
          onClick={() => {
            document.querySelector('[role=listbox]')?.scrollTo({ top: 0 });
            feed.showPending();
          }}
        >
          ↑ {formatCount(pending.length, 'new event')}
        </button>
      )}
      {phase === 'loading' && <Skeleton />}
      {phase === 'failed' && (
        <div className="list-state" role="alert">
          <p>{failure}</p>
          <button type="button" className="button" onClick={() => void feed.open(filters)}>
            Try again
          </button>
        </div>
      )}
      {phase === 'ready' && rows.length === 0 && (
        <NoEvents
          status={status}
          isFiltered={isFiltered(filters)}
          onClear={() => {
            onFilter(NO_FILTERS);
          }}
        />
      )}
      {phase === 'ready' && rows.length > 0 && (
        <EventList {...{ snapshot, feed, selectedId, onSelect, onEnter }} />
      )}
    </section>
  );
}

/** Deletes at the second click. */
function ClearButton({ onClear }: { onClear: () => void }) {
  const [isAsking, setIsAsking] = useState(false);
  return (
    <button
      type="button"
      className="button"
      onBlur={() => {
        setIsAsking(false);
      }}
      onClick={() => {
        if (isAsking) onClear();
        setIsAsking(!isAsking);
      }}
    >
      {isAsking ? 'Delete all entries?' : 'Clear'}
    </button>
  );
}

function Skeleton() {
  return (
    <div className="skeleton" role="status">
      <span className="fc-visually-hidden">Loading events</span>
      {Array.from({ length: 8 }, (_, index) => (
        <div key={index} className="skeleton-row" />
      ))}
    </div>
  );
}
