import { Fragment, useState } from 'react';

import { asText, isNumeric, type JsonObject, type JsonValue, member } from '../json.ts';
import { AnnotatedText, StructureNote } from './AnnotatedText.tsx';
import { ShowMore, usePages } from './pages.tsx';
import { SafeText } from './SafeText.tsx';
import { formatScalar, type Scalar } from './scalarFormat.ts';

// As in Sentry: the first two levels are open initially if they have few members.
const OPEN_DEPTH = 2;
const OPEN_MEMBERS = 5;
const SHORT_LIST_ITEMS = 6;
const SHORT_LIST_LENGTH = 60;

interface Props {
  value: JsonValue;
  meta?: JsonValue | undefined;
  platform?: string | null;
  depth?: number;
  /** Structures above this depth are open initially, however many members they have. */
  openDepth?: number;
}

/** A value of the event in the notation of its platform; structures can be folded. */
export function StructuredValue({ value, meta, platform = null, depth = 0, openDepth = 0 }: Props) {
  if (value !== null && typeof value === 'object' && !isNumeric(value)) {
    if (isShortList(value)) return <ShortList {...{ items: value, meta, platform }} />;
    return <Structure {...{ value, meta, platform, depth, openDepth }} />;
  }
  const { text, kind } = formatScalar(value, platform);
  return (
    <span className={`fc-value fc-value-${kind}`}>
      <AnnotatedText text={text} meta={meta} />
    </span>
  );
}

/** Whether a list fits on one line: folding it would only cost clicks. */
function isShortList(value: JsonValue[] | JsonObject): value is Scalar[] {
  if (!Array.isArray(value) || value.length === 0 || value.length > SHORT_LIST_ITEMS) return false;
  const texts = value.map(asText);
  const length = texts.reduce((sum, text) => sum + (text?.length ?? 4), 0);
  return (
    length <= SHORT_LIST_LENGTH && value.every((item) => item === null || asText(item) !== null)
  );
}

interface ShortListProps {
  items: Scalar[];
  meta: JsonValue | undefined;
  platform: string | null;
}

function ShortList({ items, meta, platform }: ShortListProps) {
  return (
    <span className="fc-value">
      [
      {items.map((item, index) => (
        <Fragment key={index}>
          {index > 0 && ', '}
          <StructuredValue value={item} meta={member(meta, String(index))} platform={platform} />
        </Fragment>
      ))}
      ] <StructureNote meta={meta} />
    </span>
  );
}

interface StructureProps {
  value: JsonValue[] | JsonObject;
  meta: JsonValue | undefined;
  platform: string | null;
  depth: number;
  openDepth: number;
}

function Structure({ value, meta, platform, depth, openDepth }: StructureProps) {
  const entries = Object.entries(value);
  const isList = Array.isArray(value);
  const [isOpen, setIsOpen] = useState(
    depth < openDepth || (depth < OPEN_DEPTH && entries.length <= OPEN_MEMBERS),
  );
  const pages = usePages(entries);
  const [open, close] = isList ? ['[', ']'] : ['{', '}'];

  if (entries.length === 0) {
    return (
      <span className="fc-value">
        {open}
        {close} <StructureNote meta={meta} />
      </span>
    );
  }
  const count = `${entries.length} ${entries.length === 1 ? 'item' : 'items'}`;
  return (
    <span className="fc-structure">
      <button
        type="button"
        className="fc-fold"
        aria-expanded={isOpen}
        aria-label={`${isOpen ? 'Collapse' : 'Expand'} ${count}`}
        onClick={() => {
          setIsOpen(!isOpen);
        }}
      >
        <span className="fc-chevron" aria-hidden="true" />
        {open}
        {!isOpen && (
          <span className="fc-fold-count">
            {count} {close}
          </span>
        )}
      </button>{' '}
      <StructureNote meta={meta} />
      {isOpen && (
        <>
          <span className="fc-members">
            {pages.shown.map(([key, item]) => (
              <span className="fc-member" key={key}>
                {!isList && (
                  <span className="fc-key">
                    <SafeText text={key} />:{' '}
                  </span>
                )}
                <StructuredValue
                  value={item}
                  meta={member(meta, key)}
                  platform={platform}
                  depth={depth + 1}
                  openDepth={openDepth}
                />
              </span>
            ))}
            <ShowMore pages={pages} />
          </span>
          <span className="fc-value">{close}</span>
        </>
      )}
    </span>
  );
}
