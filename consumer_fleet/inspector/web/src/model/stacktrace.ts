import {
  asArray,
  asBoolean,
  asNumber,
  asObject,
  asText,
  isObject,
  type JsonObject,
  type JsonValue,
  member,
} from '../json.ts';
import type { Frame, SourceLine, Stacktrace } from './event.ts';

/** Read a stack trace with the names of SDKs (`pre_context`, `lineno`, …) or of Sentry. */
export function readStacktrace(
  value: JsonValue | undefined,
  meta: JsonValue | undefined,
): Stacktrace | null {
  if (!isObject(value)) return null;
  const omitted = asArray(value.frames_omitted ?? value.framesOmitted).map(asNumber);
  const [first, last] = omitted;
  const framesMeta = member(meta, 'frames');
  return {
    // Indexes of `_meta` include entries that are not frames.
    frames: asArray(value.frames).flatMap((frame, index) =>
      isObject(frame) ? [readFrame(frame, member(framesMeta, String(index)))] : [],
    ),
    framesOmitted: typeof first === 'number' && typeof last === 'number' ? [first, last] : null,
    registers: asObject(value.registers),
    meta,
  };
}

function readFrame(frame: JsonObject, meta: JsonValue | undefined): Frame {
  const lineNo = asNumber(frame.lineno ?? frame.lineNo);
  return {
    absPath: asText(frame.abs_path ?? frame.absPath),
    colNo: asNumber(frame.colno ?? frame.colNo),
    context: readContext(frame, lineNo),
    filename: asText(frame.filename),
    function: asText(frame.function),
    inApp: asBoolean(frame.in_app ?? frame.inApp) ?? false,
    instructionAddr: asText(frame.instruction_addr ?? frame.instructionAddr),
    lineNo,
    module: asText(frame.module),
    package: asText(frame.package),
    platform: asText(frame.platform),
    vars: isObject(frame.vars) ? frame.vars : null,
    meta,
  };
}

function readContext(frame: JsonObject, lineNo: number | null): SourceLine[] {
  if (Array.isArray(frame.context)) return frame.context.flatMap(readNumberedLine);
  const before = asArray(frame.pre_context);
  const active = frame.context_line ?? null;
  const after = asArray(frame.post_context);
  if (active === null && before.length === 0 && after.length === 0) return [];
  // SDKs omit lines that they could not read: show an empty line.
  const lines = [...before, active, ...after];
  const first = (lineNo ?? before.length + 1) - before.length;
  return lines.map((text, index) => [first + index, asText(text) ?? '']);
}

function readNumberedLine(line: JsonValue): SourceLine[] {
  const [number, text] = asArray(line);
  const lineNo = asNumber(number);
  return lineNo === null ? [] : [[lineNo, asText(text) ?? '']];
}
