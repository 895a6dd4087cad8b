import { asArray, asNumber, asText, type JsonValue, member } from '../json.ts';

export interface Remark {
  rule: string;
  /** Relay's code of the method, see METHODS. */
  remark: string;
  start: number | null;
  end: number | null;
}

export interface ValueMeta {
  remarks: Remark[];
  errors: string[];
  originalLength: number | null;
}

export interface Chunk {
  text: string;
  remark: Remark | null;
}

const METHODS = new Map([
  ['a', 'Annotated'],
  ['x', 'Removed'],
  ['s', 'Replaced'],
  ['m', 'Masked'],
  ['p', 'Pseudonymized'],
  ['e', 'Encrypted'],
]);

const KNOWN_RULES = new Map([
  ['!limit', 'size limits'],
  ['!raw', 'raw payload'],
  ['!config', 'SDK configuration'],
]);

/** Read `_meta` of one value: Relay stores it under the empty key of the value's node. */
export function readValueMeta(node: JsonValue | undefined): ValueMeta {
  const own = member(node, '');
  return {
    remarks: asArray(member(own, 'rem')).flatMap(readRemark),
    errors: asArray(member(own, 'err')).flatMap((error) => {
      const name = asText(error) ?? asText(asArray(error)[0]);
      return name === null ? [] : [name];
    }),
    originalLength: asNumber(member(own, 'len')),
  };
}

function readRemark(value: JsonValue): Remark[] {
  const [rule, remark, start, end] = asArray(value);
  const name = asText(rule);
  if (name === null) return [];
  return [{ rule: name, remark: asText(remark) ?? '', start: asNumber(start), end: asNumber(end) }];
}

export function describeRemark({ rule, remark }: Remark): string {
  const method = METHODS.get(remark) ?? 'Changed';
  const reason = KNOWN_RULES.get(rule) ?? `“${rule}”`;
  return `${method} because of the PII rule ${reason}`;
}

/** Split a text at its remarks. Relay counts bytes of UTF-8, not characters. */
export function splitChunks(text: string, remarks: Remark[]): Chunk[] {
  const bytes = new TextEncoder().encode(text);
  const decoder = new TextDecoder();
  const chunks: Chunk[] = [];
  let position = 0;
  const push = (end: number, remark: Remark | null) => {
    chunks.push({ text: decoder.decode(bytes.subarray(position, end)), remark });
    position = end;
  };
  const ranged = remarks.flatMap((remark) => {
    const { start, end } = remark;
    return start === null || end === null ? [] : [{ remark, start, end }];
  });
  for (const { remark, start, end } of ranged.sort((a, b) => a.start - b.start)) {
    if (start < position || end < start || end > bytes.length) continue;
    if (start > position) push(start, null);
    push(end, remark);
  }
  if (position < bytes.length) push(bytes.length, null);
  return chunks;
}

// Drawing a mark costs as much as this many characters.
const MARK_LENGTH = 100;

/** The first chunks up to `length`; the last one may be cut. */
export function firstChunks(chunks: Chunk[], length: number): Chunk[] {
  const first: Chunk[] = [];
  let left = length;
  for (const chunk of chunks) {
    if (left <= 0) break;
    first.push({ ...chunk, text: chunk.text.slice(0, left) });
    left -= chunk.text.length + MARK_LENGTH;
  }
  return first;
}
