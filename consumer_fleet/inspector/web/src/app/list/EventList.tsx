import { useVirtualizer } from '@tanstack/react-virtual';
import { useEffect, useRef, useState, type KeyboardEvent } from 'react';

import type { Summary } from '../../api/types';
import { EventRow, ROW_HEIGHT_PX, rowId } from './EventRow';
import type { EventFeed, FeedSnapshot } from './eventFeed';

// Older entries are requested before the user reaches the end of the loaded ones.
const LOAD_AHEAD_ROWS = 60;
const PAGE_ROWS = 10;
const TOP_PX = 8;

interface Props {
  snapshot: FeedSnapshot;
  feed: EventFeed;
  selectedId: number | null;
  onSelect: (summary: Summary) => void;
  /** Called at Enter in the list, to move to the event. */
  onEnter: () => void;
}

/** The entries as a virtual listbox whose selection follows the arrow keys. */
export function EventList({ snapshot, feed, selectedId, onSelect, onEnter }: Props) {
  const { rows, next, total } = snapshot;
  const scroller = useRef<HTMLDivElement>(null);
  // eslint-disable-next-line react-hooks/incompatible-library -- its functions are not memoised here
  const virtualizer = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW_HEIGHT_PX,
    getItemKey: (index) => rows[index]?.id ?? index,
    overscan: 8,
  });
  const items = virtualizer.getVirtualItems();
  const lastDrawn = items.at(-1)?.index ?? 0;
  const selectedIndex = rows.findIndex((row) => row.id === selectedId);
  // On a narrow page, going back to the list clears the selection; arrow keys continue from here.
  const [lastSelectedId, setLastSelectedId] = useState(selectedId);
  if (selectedId !== null && selectedId !== lastSelectedId) setLastSelectedId(selectedId);
  const isSelectedDrawn = items.some((item) => item.index === selectedIndex);

  useEffect(() => {
    if (next !== null && lastDrawn >= rows.length - LOAD_AHEAD_ROWS) void feed.loadMore();
  }, [feed, next, lastDrawn, rows.length]);

  const onKeyDown = (event: Pick<KeyboardEvent, 'key' | 'preventDefault'>) => {
    if (event.key === 'Enter' && selectedIndex >= 0) {
      event.preventDefault();
      onEnter();
      return;
    }
    const current = rows.findIndex((row) => row.id === (selectedId ?? lastSelectedId));
    const target = targetIndex(event.key, current, rows.length);
    const row = target === null ? undefined : rows[target];
    if (target === null || row === undefined) return;
    event.preventDefault();
    virtualizer.scrollToIndex(target);
    onSelect(row);
  };

  useFirstKeys((event) => {
    if (targetIndex(event.key, 0, rows.length) === null) return;
    scroller.current?.focus();
    onKeyDown(event);
  });

  return (
    <div
      ref={scroller}
      className="event-list"
      role="listbox"
      aria-label="Events"
      aria-activedescendant={isSelectedDrawn && selectedId !== null ? rowId(selectedId) : undefined}
      tabIndex={0}
      onKeyDown={onKeyDown}
      onScroll={(event) => {
        feed.setAtTop(event.currentTarget.scrollTop < TOP_PX);
      }}
    >
      <div
        className="event-list-space"
        role="presentation"
        style={{ height: virtualizer.getTotalSize() }}
      >
        {items.map((item) => {
          const summary = rows[item.index];
          if (summary === undefined) return null;
          return (
            <EventRow
              key={item.key}
              summary={summary}
              isSelected={summary.id === selectedId}
              repeats={snapshot.repeats[String(summary.id)] ?? 1}
              position={item.index + 1}
              total={total}
              offsetPx={item.start}
              onSelect={onSelect}
              measure={virtualizer.measureElement}
            />
          );
        })}
      </div>
    </div>
  );
}

/** While nothing has the focus, keys are for the list: so on a fresh page. */
function useFirstKeys(onKey: (event: globalThis.KeyboardEvent) => void) {
  const latest = useRef(onKey);
  useEffect(() => {
    latest.current = onKey;
  });
  useEffect(() => {
    const listen = (event: globalThis.KeyboardEvent) => {
      const hasModifier = event.ctrlKey || event.metaKey || event.altKey;
      if (event.target === document.body && !hasModifier) latest.current(event);
    };
    document.addEventListener('keydown', listen);
    return () => {
      document.removeEventListener('keydown', listen);
    };
  }, []);
}

function targetIndex(key: string, selected: number, count: number): number | null {
  const targets: Record<string, number> = {
    ArrowDown: selected + 1,
    ArrowUp: Math.max(selected - 1, 0),
    PageDown: selected + PAGE_ROWS,
    PageUp: selected - PAGE_ROWS,
    Home: 0,
    End: count - 1,
  };
  const target = targets[key];
  if (target === undefined || count === 0) return null;
  return Math.min(Math.max(target, 0), count - 1);
}
