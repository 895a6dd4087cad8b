import { asNumber, type JsonValue } from '../json.ts';

/** Seconds since 1970, from a number or ISO 8601 text. */
export function readTimestampS(value: JsonValue | undefined): number | null {
  const number = asNumber(value);
  if (number !== null) return number;
  if (typeof value !== 'string') return null;
  // A time without a zone is UTC in Sentry's protocol, but local time to Date.
  const zoned = /(?:Z|[+-]\d\d:?\d\d)$/.test(value) ? value : `${value}Z`;
  const ms = Date.parse(zoned);
  return Number.isNaN(ms) ? null : ms / 1000;
}
