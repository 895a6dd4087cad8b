import { useDeferredValue, useMemo, useState, type ReactNode } from 'react';

import { CopyButton } from '../../context/CopyButton';
import type { CoverageCache } from '../../context/coverageCache';
import { ShowMore, usePages } from '../../context/pages';
import { member } from '../../json';
import type { FrameEvent, RegisterMap, Stacktrace } from '../../model/event';
import { FrameRow } from './FrameRow';
import { initiallyOpenFrame, planFrames, type Segment } from './framePlan';
import { stacktraceText } from './frameText';

interface Props {
  event: FrameEvent;
  stacktrace: Stacktrace;
  /** The first line of the copied text. */
  heading: string;
  coverage: CoverageCache | null;
}

const NO_REGISTERS: RegisterMap = {};
const PAGE_SIZE = 500;
// More than fit a screen: the others are drawn after these are shown.
const FIRST_ROWS = 40;

export function StackTrace({ event, stacktrace, heading, coverage }: Props) {
  const { frames, framesOmitted, meta } = stacktrace;
  const [isAppOnly, setIsAppOnly] = useState(true);
  const [isNewestFirst, setIsNewestFirst] = useState(true);
  const [unfolded, setUnfolded] = useState<ReadonlySet<number>>(new Set());
  const drawnRows = useDeferredValue(Infinity, FIRST_ROWS);
  const plan = useMemo(() => planFrames(frames, isAppOnly), [frames, isAppOnly]);
  const openIndex = initiallyOpenFrame(frames);

  const row = (index: number, repeats: number) => {
    const frame = frames[index];
    if (frame === undefined) return null;
    const isInnermost = index === frames.length - 1;
    return (
      <FrameRow
        key={index}
        event={event}
        frame={frame}
        // The registers are those at the time of the crash, so of the innermost frame.
        registers={isInnermost ? stacktrace.registers : NO_REGISTERS}
        registersMeta={isInnermost ? member(meta, 'registers') : undefined}
        repeats={repeats}
        isInitiallyOpen={index === openIndex}
        isOnlyFrame={frames.length === 1}
        coverage={coverage}
      />
    );
  };
  const segment = (part: Segment): ReactNode[] => {
    if (part.kind === 'frame') return [row(part.index, part.repeats)];
    const [first = 0] = part.indexes;
    if (unfolded.has(first)) return part.indexes.map((index) => row(index, 0));
    return [
      <li key={`folded-${first}`} className="frame-folded">
        <button
          type="button"
          onClick={() => {
            setUnfolded(new Set([...unfolded, first]));
          }}
        >
          Show {part.indexes.length} more {part.indexes.length === 1 ? 'frame' : 'frames'}
        </button>
      </li>,
    ];
  };
  const rows = plan.flatMap(segment);
  const pages = usePages(isNewestFirst ? rows.reverse() : rows, { size: PAGE_SIZE });
  if (frames.length === 0) return <p className="hint">This stack trace has no frames.</p>;
  const hasFoldable = frames.some((frame) => frame.inApp) && frames.some((frame) => !frame.inApp);

  return (
    <div className="stacktrace">
      <div className="stacktrace-tools">
        {hasFoldable && (
          <Toggle
            isOn={!isAppOnly}
            onChange={(isOn) => {
              setIsAppOnly(!isOn);
            }}
          >
            All frames
          </Toggle>
        )}
        <Toggle
          isOn={!isNewestFirst}
          onChange={(isOn) => {
            setIsNewestFirst(!isOn);
          }}
        >
          Oldest first
        </Toggle>
        <CopyButton label="Copy stack trace" text={() => stacktraceText(stacktrace, heading)} />
      </div>
      {framesOmitted !== null && (
        <p className="hint">
          The SDK omitted frames {framesOmitted[0]} to {framesOmitted[1]}.
        </p>
      )}
      <ol className="frames" aria-label="Stack frames">
        {pages.shown.slice(0, drawnRows)}
      </ol>
      <ShowMore pages={pages} what="rows" className="wide-button" />
    </div>
  );
}

interface ToggleProps {
  isOn: boolean;
  onChange: (isOn: boolean) => void;
  children: ReactNode;
}

function Toggle({ isOn, onChange, children }: ToggleProps) {
  return (
    <button
      type="button"
      className="toggle"
      aria-pressed={isOn}
      onClick={() => {
        onChange(!isOn);
      }}
    >
      {children}
    </button>
  );
}
