import type { Severity } from './types';

const MARKS: Record<Severity, string> = { 0: '✓', 1: '!', 2: '✕' };

/** The state in words, with a mark: not only in colour. */
export function StateMark({ state, severity }: { state: string; severity: Severity }) {
  return (
    <span className="fleet-state" data-severity={severity}>
      <span aria-hidden="true">{MARKS[severity]} </span>
      {state}
    </span>
  );
}
