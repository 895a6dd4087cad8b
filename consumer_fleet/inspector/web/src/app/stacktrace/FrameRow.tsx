import { memo, useState } from 'react';

import { Context } from '../../context/Context';
import type { CoverageCache } from '../../context/coverageCache';
import { SafeText } from '../../context/SafeText';
import type { JsonValue } from '../../json';
import type { Frame, FrameEvent, RegisterMap } from '../../model/event';
import { EditorLink, useFrameSource } from './frameSource';
import { frameLocation, libraryName } from './frameText';

interface Props {
  event: FrameEvent;
  frame: Frame;
  registers: RegisterMap;
  registersMeta: JsonValue | undefined;
  repeats: number;
  isInitiallyOpen: boolean;
  isOnlyFrame: boolean;
  coverage: CoverageCache | null;
}

export const FrameRow = memo(function FrameRow({
  event,
  frame: sentFrame,
  registers,
  registersMeta,
  repeats,
  isInitiallyOpen,
  isOnlyFrame,
  coverage,
}: Props) {
  const [isOpen, setIsOpen] = useState(isInitiallyOpen);
  const { frame, isPossible, note } = useFrameSource(event, sentFrame, isOpen);
  const parts = {
    hasContextSource: frame.context.length > 0,
    hasContextVars: Object.keys(frame.vars ?? {}).length > 0,
    hasContextRegisters: Object.keys(registers).length > 0,
    hasAssembly: (frame.platform ?? event.platform) === 'csharp' && frame.package !== null,
  };
  const isExpandable = isPossible || Object.values(parts).some(Boolean);
  // A folded application frame still shows the line that ran.
  const folded = { hasContextSource: parts.hasContextSource && frame.inApp };

  return (
    <li className="frame" data-in-app={frame.inApp} data-testid="frame">
      {isExpandable ? (
        <button
          type="button"
          className="frame-head"
          aria-expanded={isOpen}
          onClick={() => {
            setIsOpen(!isOpen);
          }}
        >
          <span className="fc-chevron" aria-hidden="true" />
          <FrameTitle frame={frame} repeats={repeats} />
        </button>
      ) : (
        <div className="frame-head">
          <FrameTitle frame={frame} repeats={repeats} />
        </div>
      )}
      {isOpen && <EditorLink frame={frame} />}
      {isOpen && note !== null && <p className="frame-note">{note}</p>}
      <Context
        event={event}
        frame={frame}
        registers={registers}
        registersMeta={registersMeta}
        isExpanded={isOpen}
        emptySourceNotation={isOnlyFrame}
        coverage={coverage}
        {...(isOpen ? parts : folded)}
      />
    </li>
  );
});

function FrameTitle({ frame, repeats }: { frame: Frame; repeats: number }) {
  const library = libraryName(frame);
  const location = frameLocation(frame);
  return (
    <>
      <span className="frame-function">
        <SafeText text={frame.function ?? '<unknown>'} />
      </span>
      {location !== '' && (
        <span className="frame-location">
          <SafeText text={location} />
        </span>
      )}
      {repeats > 0 && <span className="badge">repeated {repeats + 1} times</span>}
      {frame.instructionAddr !== null && (
        <span className="frame-address">
          {library !== null && (
            <>
              <SafeText text={library} />{' '}
            </>
          )}
          <SafeText text={frame.instructionAddr} />
        </span>
      )}
      {frame.inApp && <span className="badge badge-app">in app</span>}
    </>
  );
}
