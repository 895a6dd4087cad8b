import { asText, type JsonValue } from '../json.ts';

export type RegisterView = 'hexadecimal' | 'decimal';

const HEX_DIGITS = 16;
const HEX = /^(?:0x)?[0-9a-f]+$/i;
// The widest register (AVX-512) has 128 digits; longer text is not a register's value.
const MAX_HEX_DIGITS = 130;

const MAX_RAW_LENGTH = 1_000;

/** A register's exact value; null if it is not a number.
 *
 * Text is hexadecimal with or without `0x`, as in Sentry; a JSON number is decimal.
 */
export function parseRegister(value: JsonValue): bigint | null {
  if (typeof value === 'bigint') return value;
  if (typeof value === 'number') return Number.isSafeInteger(value) ? BigInt(value) : null;
  if (typeof value !== 'string') return null;
  const text = value.trim();
  if (!HEX.test(text) || text.length > MAX_HEX_DIGITS) return null;
  return BigInt(text.toLowerCase().startsWith('0x') ? text : `0x${text}`);
}

/** A register's text in a view; an unparsable value is shown as sent. */
export function formatRegister(value: JsonValue, view: RegisterView): string {
  const parsed = parseRegister(value);
  if (parsed === null) return asText(value)?.slice(0, MAX_RAW_LENGTH) ?? '';
  if (view === 'decimal') return parsed.toString();
  const sign = parsed < 0n ? '-' : '';
  const digits = (parsed < 0n ? -parsed : parsed).toString(16);
  return `${sign}0x${digits.padStart(HEX_DIGITS, '0')}`;
}
