import { useState } from 'react';

// What an event holds may be any number of anything.
const PAGE_SIZE = 100;

interface Options {
  size?: number | undefined;
  /** How many to show before more are asked for. */
  first?: number;
  /** The index that is among those shown first, with its neighbours. */
  around?: number;
}

export interface Pages<T> {
  shown: T[];
  /** The index of the first that is shown. */
  start: number;
  total: number;
  /** How many the next page adds; 0 where all are shown. */
  next: number;
  showNext: () => void;
}

/** As much of a list as a browser draws at once; `ShowMore` asks for the next page. */
export function usePages<T>(
  items: readonly T[],
  { size = PAGE_SIZE, first = size, around = 0 }: Options = {},
): Pages<T> {
  const [count, setCount] = useState(first);
  const start = Math.max(0, Math.min(around - Math.floor(count / 2), items.length - count));
  const shown = items.slice(start, start + count);
  return {
    shown,
    start,
    total: items.length,
    next: Math.min(size, items.length - shown.length),
    showNext: () => {
      setCount(count + size);
    },
  };
}

interface Props {
  pages: Pages<unknown>;
  /** The plural of what there is more of. */
  what?: string;
  className?: string;
}

export function ShowMore({ pages, what = '', className = 'fc-show-more' }: Props) {
  const { next, total, showNext } = pages;
  if (next === 0) return null;
  return (
    <button
      type="button"
      className={className}
      onClick={(event) => {
        // A host may fold the frame on any click.
        event.stopPropagation();
        showNext();
      }}
    >
      {`Show ${next} more of ${total.toLocaleString('en')} ${what}`.trimEnd()}
    </button>
  );
}
