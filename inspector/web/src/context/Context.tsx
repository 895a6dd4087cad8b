import { member, type JsonValue } from '../json/value';
import type { Frame, FrameEvent, RegisterMap, SourceLine } from '../model/event';
import { Assembly } from './Assembly';
import { markLines } from './coverage';
import type { CoverageCache } from './coverageCache';
import { FrameRegisters } from './FrameRegisters';
import { FrameVariables } from './FrameVariables';
import { SourceLines } from './SourceLines';
import { useCoverage } from './useCoverage';

export interface ContextProps {
  event: FrameEvent;
  frame: Frame;
  registers: RegisterMap;
  /** `_meta` of the frame: which of its values were redacted, and by which rule. */
  frameMeta?: JsonValue | undefined;
  registersMeta?: JsonValue | undefined;
  /** The language to write variables in; the frame's own platform where it has one. */
  platform?: string | null;
  isExpanded?: boolean;
  hasContextSource?: boolean;
  hasContextVars?: boolean;
  hasContextRegisters?: boolean;
  hasAssembly?: boolean;
  /** Say so where there is nothing to show. */
  emptySourceNotation?: boolean;
  /** Access to coverage; without it, none is asked for. */
  coverage?: CoverageCache | null;
}

const NO_LINES: SourceLine[] = [];

/** What is known of one stack frame: its source, variables, registers and assembly. */
export function Context({
  event,
  frame,
  registers,
  frameMeta,
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
  const isCovered = answer?.status === 'COVERAGE_EXISTS' && frame.lineNo !== null;
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
  return frame.context.filter(([lineNo]) => lineNo === frame.lineNo);
}

function EmptyNotation() {
  return <p className="fc-empty">No additional details are available for this frame.</p>;
}
