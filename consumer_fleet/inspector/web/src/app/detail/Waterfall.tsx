import { useVirtualizer } from '@tanstack/react-virtual';
import { useId, useMemo, useRef, useState, type KeyboardEvent } from 'react';

import type { Trace } from '../../api/types';
import { CopyButton } from '../../context/CopyButton';
import { SafeText } from '../../context/SafeText';
import {
  placeOn,
  unfoldedNodes,
  type Axis,
  type TraceNode,
  type TraceSpan,
} from '../../model/trace';
import { formatCount, formatDuration, formatMoment, formatOffset } from '../format';
import { entryLink, MarkLink } from './TraceLinks';

const ROW_HEIGHT_PX = 28;
const PAGE_ROWS = 10;
// Deeper spans are not indented further: the row tells their level.
const INDENTED_LEVELS = 12;
const INDENT_PX = 12;
const MARKS_DRAWN = 20;

interface Props {
  trace: Trace;
  nodes: TraceNode[];
  axis: Axis | null;
  entryId: number | null;
}

/** The spans as a tree beside their bars. Only the visible rows are drawn. */
export function Waterfall({ trace, nodes, axis, entryId }: Props) {
  const id = useId();
  const scroller = useRef<HTMLDivElement>(null);
  const [folded, setFolded] = useState<ReadonlySet<TraceNode>>(new Set());
  const [selected, setSelected] = useState<TraceNode | null>(null);
  const shown = useMemo(() => unfoldedNodes(nodes, folded), [nodes, folded]);
  // eslint-disable-next-line react-hooks/incompatible-library -- its functions are not memoised here
  const virtualizer = useVirtualizer({
    count: shown.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW_HEIGHT_PX,
    overscan: 10,
  });
  const items = virtualizer.getVirtualItems();
  const selectedIndex = selected === null ? -1 : shown.indexOf(selected);
  const isSelectedDrawn = items.some(({ index }) => index === selectedIndex);

  const fold = (node: TraceNode, isFolded: boolean) => {
    const next = new Set(folded);
    if (isFolded) next.add(node);
    else next.delete(node);
    setFolded(next);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const node = shown[selectedIndex];
    if (node !== undefined && node.childCount > 0) {
      if (event.key === 'ArrowLeft' || event.key === 'ArrowRight') {
        event.preventDefault();
        fold(node, event.key === 'ArrowLeft');
        return;
      }
    }
    const target = targetOf(event.key, selectedIndex, shown.length);
    if (target === null) return;
    event.preventDefault();
    virtualizer.scrollToIndex(target);
    setSelected(shown[target] ?? null);
  };

  return (
    <>
      <div
        ref={scroller}
        className="waterfall"
        role="tree"
        aria-label="Spans"
        tabIndex={0}
        aria-activedescendant={isSelectedDrawn ? `${id}-${selectedIndex}` : undefined}
        onKeyDown={onKeyDown}
      >
        <div
          className="waterfall-space"
          role="presentation"
          style={{ height: virtualizer.getTotalSize() }}
        >
          {items.map(({ index, start }) => {
            const node = shown[index];
            if (node === undefined) return null;
            return (
              <Row
                key={index}
                id={`${id}-${index}`}
                node={node}
                axis={axis}
                offsetPx={start}
                isSelected={node === selected}
                isFolded={folded.has(node)}
                isOfEntry={node.span.entry === entryId}
                onSelect={setSelected}
                onFold={fold}
              />
            );
          })}
        </div>
      </div>
      {selected === null ? (
        <p className="hint">
          Select a span for its details: <kbd>↑</kbd> <kbd>↓</kbd> to move, <kbd>←</kbd>{' '}
          <kbd>→</kbd> to fold.
        </p>
      ) : (
        <SpanDetails trace={trace} node={selected} axis={axis} entryId={entryId} />
      )}
    </>
  );
}

function targetOf(key: string, selected: number, count: number): number | null {
  const targets: Record<string, number> = {
    ArrowDown: selected + 1,
    ArrowUp: selected - 1,
    PageDown: selected + PAGE_ROWS,
    PageUp: selected - PAGE_ROWS,
    Home: 0,
    End: count - 1,
  };
  const target = targets[key];
  return target === undefined || count === 0 ? null : Math.min(Math.max(target, 0), count - 1);
}

interface RowProps {
  id: string;
  node: TraceNode;
  axis: Axis | null;
  offsetPx: number;
  isSelected: boolean;
  isFolded: boolean;
  isOfEntry: boolean;
  onSelect: (node: TraceNode) => void;
  onFold: (node: TraceNode, isFolded: boolean) => void;
}

function Row({ id, node, axis, offsetPx, isSelected, isFolded, isOfEntry, ...props }: RowProps) {
  const { span, depth, childCount, marks } = node;
  const indent = Math.min(depth, INDENTED_LEVELS) * INDENT_PX;
  const errors = marks.filter(({ kind }) => kind !== 'log').length;
  return (
    <div
      id={id}
      role="treeitem"
      aria-level={depth + 1}
      aria-posinset={node.position}
      aria-setsize={node.siblings}
      aria-selected={isSelected}
      aria-expanded={childCount > 0 ? !isFolded : undefined}
      className="waterfall-row"
      data-failed={hasFailed(span)}
      data-own={isOfEntry}
      style={{ transform: `translateY(${offsetPx}px)`, height: ROW_HEIGHT_PX }}
      onClick={() => {
        props.onSelect(node);
      }}
    >
      <span className="waterfall-name" style={{ paddingLeft: indent }}>
        <span
          className="waterfall-fold"
          aria-hidden="true"
          data-has-children={childCount > 0}
          data-folded={isFolded}
          onClick={(event) => {
            if (childCount === 0) return;
            event.stopPropagation();
            props.onFold(node, !isFolded);
          }}
        />
        {depth > INDENTED_LEVELS && <span className="dim">{depth} </span>}
        {span.op !== '' && (
          <span className="waterfall-op">
            <SafeText text={span.op} />{' '}
          </span>
        )}
        <SafeText text={span.name === '' ? '(no name)' : span.name} />
      </span>
      <span className="waterfall-notes">
        {errors > 0 && <span className="mark mark-dead">{formatCount(errors, 'error')}</span>}
        {marks.length > errors && (
          <span className="mark">{formatCount(marks.length - errors, 'log')}</span>
        )}
        {hasFailed(span) && (
          <span className="mark mark-dead">
            <SafeText text={span.status} />
          </span>
        )}
        {node.problems.length > 0 && (
          <span className="mark mark-refused" title={node.problems.join('; ')}>
            as sent
          </span>
        )}
      </span>
      <span className="waterfall-duration">{durationText(span)}</span>
      <Track node={node} axis={axis} />
    </div>
  );
}

function Track({ node: { span, marks }, axis }: { node: TraceNode; axis: Axis | null }) {
  const left = axis === null || span.start === null ? null : placeOn(axis, span.start);
  const right =
    axis === null || span.end === null || span.start === null
      ? null
      : placeOn(axis, Math.max(span.end, span.start));
  return (
    <span className="waterfall-track" aria-hidden="true">
      {left === null && span.start !== null && <span className="waterfall-off">off the axis</span>}
      {left !== null && (
        <span
          className="waterfall-bar"
          style={{ left: `${left}%`, width: `${(right ?? left) - left}%` }}
        />
      )}
      {axis !== null &&
        marks.slice(0, MARKS_DRAWN).map(({ at, kind }, index) => {
          const place = at === null ? null : placeOn(axis, at);
          if (place === null) return null;
          return (
            <span
              key={index}
              className="waterfall-mark"
              data-kind={kind === 'log' ? 'log' : 'error'}
              style={{ left: `${place}%` }}
            />
          );
        })}
    </span>
  );
}

/** Any status but success; a span without one has not said that it failed. */
function hasFailed({ status }: TraceSpan): boolean {
  return status !== '' && status !== 'ok' && status !== 'unset';
}

function durationText({ start, end }: TraceSpan): string {
  if (start === null || end === null) return '?';
  return end < start ? `−${formatDuration(start - end)}` : formatDuration(end - start);
}

interface DetailsProps {
  trace: Trace;
  node: TraceNode;
  axis: Axis | null;
  entryId: number | null;
}

function SpanDetails({ trace, node, axis, entryId }: DetailsProps) {
  const { span, problems, marks } = node;
  const offset =
    span.start === null || axis === null ? '' : ` (${formatOffset(span.start - axis.startS)})`;
  const facts: [string, string][] = [
    ['Operation', span.op],
    ['Name', span.name],
    ['Status', span.status],
    ['Start', span.start === null ? '' : formatMoment(span.start) + offset],
    ['Duration', durationText(span)],
    ['Span id', span.span_id],
    ['Parent', span.parent],
    ['Project', trace.entries[String(span.entry)]?.project ?? ''],
  ];
  return (
    <section className="span-details" aria-label="Selected span">
      <dl className="facts">
        {facts.map(
          ([name, value]) =>
            value !== '' && (
              <div className="fact" key={name}>
                <dt>{name}</dt>
                <dd>
                  <SafeText text={value} />
                  {name === 'Span id' && <CopyButton label="Copy span id" text={() => value} />}
                </dd>
              </div>
            ),
        )}
      </dl>
      {problems.length > 0 && (
        <p className="span-problems">
          As sent: this span <SafeText text={problems.join('; ')} />.
        </p>
      )}
      {marks.slice(0, MARKS_DRAWN).map((mark, index) => (
        <p key={index}>
          <MarkLink trace={trace} mark={mark} />
        </p>
      ))}
      {span.entry !== entryId && (
        <a className="button" href={entryLink(trace, span.entry)}>
          Open the entry of this span
        </a>
      )}
    </section>
  );
}
