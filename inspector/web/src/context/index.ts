export { Context, type ContextProps } from './Context';
export { CoverageCache, type FetchCoverage } from './coverageCache';
export { COVERAGE, type CoverageAnswer, type CoverageQuery, type CoverageStatus } from './coverage';
export type { Frame, FrameEvent, RegisterMap, SourceLine, Stacktrace } from '../model/event';
export { readEvent } from '../model/normalise';
export { readStacktrace } from '../model/stacktrace';
export { parseJson } from '../json/parse';
export type { JsonObject, JsonValue } from '../json/value';
