export { Context, type ContextProps } from './Context.tsx';
export { CoverageCache, type FetchCoverage } from './coverageCache.ts';
export {
  COVERAGE,
  type CoverageAnswer,
  type CoverageQuery,
  type CoverageStatus,
} from './coverage.ts';
export type { Frame, FrameEvent, RegisterMap, SourceLine, Stacktrace } from '../model/event.ts';
export { readEvent } from '../model/normalise.ts';
export { readStacktrace } from '../model/stacktrace.ts';
export { parseJson } from '../json.ts';
export type { JsonObject, JsonValue } from '../json.ts';
