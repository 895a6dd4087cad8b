import { type JsonValue, member } from '../json.ts';
import type { Frame, FrameEvent, RegisterMap, SourceLine } from '../model/event.ts';
import { Assembly } from './Assembly.tsx';
import { markLines } from './coverage.ts';
import type { CoverageCache } from './coverageCache.ts';
import { CoverageLegend, CoverageNote } from './CoverageNote.tsx';
import { FrameRegisters } from './FrameRegisters.tsx';
import { FrameVariables } from './FrameVariables.tsx';
import { SourceLines } from './SourceLines.tsx';
import { useCoverage } from './useCoverage.ts';

export interface ContextProps {
  event: FrameEvent;
  frame: Frame;
  registers: RegisterMap;
  /** The redactions of the frame's values; default: the frame's own `meta`. */
  frameMeta?: JsonValue | undefined;
  registersMeta?: JsonValue | undefined;
  /** The platform whose notation variables use; the frame's own platform takes precedence. */
  platform?: string | null;
  isExpanded?: boolean;
  hasContextSource?: boolean;
  hasContextVars?: boolean;
  hasContextRegisters?: boolean;
  hasAssembly?: boolean;
  /** Show a text if there is nothing else to show. */
  emptySourceNotation?: boolean;
  /** Access to coverage; without it, none is requested. */
  coverage?: CoverageCache | null;
}

const NO_LINES: SourceLine[] = [];

/** The details of a stack frame: its source, variables, registers and assembly. */
export function Context({
  event,
  frame,
  registers,
  frameMeta = frame.meta,
  registersMeta,
  platform = null,
  isExpanded = false,
  hasContextSource = false,
  hasContextVars = false,
  hasContextRegisters = false,
  hasAssembly = false,
  emptySourceNotation = false,
  coverage = null,
}: ContextProps) {
  const answer = useCoverage(coverage, event, frame, isExpanded);

  const hasLines = hasContextSource && frame.context.length > 0;
  if (!hasLines && !hasContextVars && !hasContextRegisters && !hasAssembly) {
    return emptySourceNotation ? <EmptyNotation /> : null;
  }
  const lines = hasLines ? visibleLines(frame, isExpanded) : NO_LINES;
  const hasCoverage = answer?.status === 'COVERAGE_EXISTS';
  const isCovered = hasCoverage && frame.lineNo !== null;
  const isExplained = hasLines && isExpanded && (isCovered || !hasCoverage);
  const framePlatform = frame.platform ?? platform ?? event.platform;
  return (
    <div className="fc-context" data-expanded={isExpanded}>
      <SourceLines
        lines={lines}
        activeLineNo={frame.lineNo}
        filename={frame.filename ?? frame.absPath}
        marks={isCovered ? markLines(lines, answer) : []}
        isExpanded={isExpanded}
      />
      {isExplained && answer !== null && <CoverageNote answer={answer} />}
      {isCovered && isExpanded && hasLines && <CoverageLegend />}
      {hasContextVars && (
        <FrameVariables
          data={frame.vars ?? {}}
          meta={member(frameMeta, 'vars')}
          platform={framePlatform}
        />
      )}
      {hasContextRegisters && (
        <FrameRegisters registers={registers} meta={registersMeta} deviceArch={event.deviceArch} />
      )}
      {hasAssembly && <Assembly displayName={frame.package} filePath={frame.absPath} />}
    </div>
  );
}

function visibleLines(frame: Frame, isExpanded: boolean): SourceLine[] {
  if (isExpanded) return frame.context;
  const active = frame.context.find(([lineNo]) => lineNo === frame.lineNo);
  return active === undefined ? NO_LINES : [active];
}

function EmptyNotation() {
  return <p className="fc-empty">No additional details are available for this frame.</p>;
}
