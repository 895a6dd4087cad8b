import { asArray, asText, isObject, type JsonObject } from '../json.ts';
import type { Span } from './event.ts';
import { readTimestampS } from './timestamp.ts';

/** The spans of a transaction, ordered by start; spans without both times are omitted. */
export function readSpans(event: JsonObject): Span[] {
  const spans = asArray(event.spans).flatMap((span): Span[] => {
    if (!isObject(span)) return [];
    const startS = readTimestampS(span.start_timestamp);
    const endS = readTimestampS(span.timestamp);
    if (startS === null || endS === null) return [];
    return [
      {
        op: asText(span.op),
        description: asText(span.description),
        startS,
        durationS: Math.max(0, endS - startS),
      },
    ];
  });
  return spans.sort((a, b) => a.startS - b.startS);
}
