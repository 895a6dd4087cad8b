import type { SourceLine } from '../model/event.ts';

/** Sentry's codes for a line's coverage. */
export const COVERAGE = {
  notApplicable: -1,
  covered: 0,
  notCovered: 1,
  partial: 2,
} as const;

export type CoverageStatus = 'COVERAGE_EXISTS' | 'NO_COVERAGE_DATA' | 'NO_INTEGRATION';

export interface CoverageAnswer {
  status: CoverageStatus;
  lineCoverage: [lineNo: number, code: number][];
  /** One sentence for the user: a remark on the lines, or why there are none. */
  reason?: string | null;
  /** The address of the full report. */
  coverageUrl?: string | null;
}

/** The known facts of the file whose coverage is requested. */
export interface CoverageQuery {
  file: string;
  commit: string | null;
  sdkName: string | null;
  absPath: string | null;
  module: string | null;
  package: string | null;
}

export interface LineMark {
  state: 'covered' | 'uncovered' | 'partial';
  label: string;
}

const MARKS = new Map<number, LineMark>([
  [COVERAGE.covered, { state: 'covered', label: 'Covered' }],
  [COVERAGE.notCovered, { state: 'uncovered', label: 'Uncovered' }],
  [COVERAGE.partial, { state: 'partial', label: 'Partially Covered' }],
]);

/** All marks, for a legend. */
export const LEGEND = [...MARKS.values()];

/** The mark of each line; undefined if its coverage is unknown or does not apply. */
export function markLines(lines: SourceLine[], answer: CoverageAnswer): (LineMark | undefined)[] {
  const codes = new Map(answer.lineCoverage);
  return lines.map(([lineNo]) => MARKS.get(codes.get(lineNo) ?? COVERAGE.notApplicable));
}
