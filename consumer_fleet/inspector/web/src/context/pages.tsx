import { useState } from 'react';

// An event may contain any number of anything.
const PAGE_SIZE = 100;

interface Options {
  size?: number | undefined;
  /** How many to show initially. */
  first?: number;
  /** The index around which the first page is. */
  around?: number;
}

export interface Pages<T> {
  shown: T[];
  /** The index of the first shown item. */
  start: number;
  total: number;
  /** How many the next page adds; 0 if all are shown. */
  next: number;
  showNext: () => void;
}

/** The first pages of a list; `ShowMore` adds the next one. */
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
  /** The plural name of the items. */
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
        // A host page may fold the frame on any click.
        event.stopPropagation();
        showNext();
      }}
    >
      {`Show ${next} more of ${total.toLocaleString('en')} ${what}`.trimEnd()}
    </button>
  );
}
