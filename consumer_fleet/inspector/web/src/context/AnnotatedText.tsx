import { useState } from 'react';

import type { JsonValue } from '../json.ts';
import {
  describeRemark,
  firstChunks,
  readValueMeta,
  splitChunks,
  type Chunk,
  type Remark,
  type ValueMeta,
} from './redaction.ts';
import { revealInvisible } from './SafeText.tsx';
import { Tooltip } from './Tooltip.tsx';

// Nobody reads more at once; each click on the button shows ten times as much.
const SHOWN_LENGTH = 10_000;
const SHOWN_REASONS = 10;

interface Props {
  text: string;
  meta: JsonValue | undefined;
}

/** A text of the event; redacted parts are marked with their rule and method. */
export function AnnotatedText({ text, meta }: Props) {
  const about = readValueMeta(meta);
  return (
    <>
      <RedactedText text={text} about={about} />
      {about.errors.length > 0 && (
        <Tooltip text={`Processing error: ${listed(about.errors)}`} className="fc-error-mark">
          !
        </Tooltip>
      )}
    </>
  );
}

function RedactedText({ text, about }: { text: string; about: ValueMeta }) {
  const [length, setLength] = useState(SHOWN_LENGTH);
  const { chunks, isWhole } = chunksOf(text, about.remarks);
  const shown = firstChunks(chunks, length);
  const body = (
    <bdi>
      {shown.map((chunk, index) => (
        <TextChunk key={index} chunk={chunk} />
      ))}
    </bdi>
  );
  const isCut =
    shown.length < chunks.length || shown.at(-1)?.text.length !== chunks.at(-1)?.text.length;
  return (
    <>
      {isWhole ? (
        <Tooltip text={explain(about)} className="fc-redacted">
          {body}
        </Tooltip>
      ) : (
        body
      )}
      {isCut && (
        <button
          type="button"
          className="fc-show-more"
          onClick={(event) => {
            event.stopPropagation();
            setLength(length * 10);
          }}
        >
          Show more of {text.length.toLocaleString('en')} characters
        </button>
      )}
    </>
  );
}

/** `isWhole`: the remarks name no part of the text, so it was redacted as a whole. */
function chunksOf(text: string, remarks: Remark[]): { chunks: Chunk[]; isWhole: boolean } {
  if (remarks.length > 0) {
    const chunks = splitChunks(text, remarks);
    if (chunks.some((chunk) => chunk.remark !== null && chunk.text !== '')) {
      return { chunks, isWhole: false };
    }
  }
  const isWhole = remarks.length > 0;
  const shown = isWhole && text === '' ? '<redacted>' : text;
  return { chunks: [{ text: shown, remark: null }], isWhole };
}

function TextChunk({ chunk: { text, remark } }: { chunk: Chunk }) {
  if (remark === null) return revealInvisible(text);
  return (
    <Tooltip text={describeRemark(remark)} className="fc-redacted">
      {text === '' ? '<redacted>' : revealInvisible(text)}
    </Tooltip>
  );
}

function explain({ remarks, originalLength }: ValueMeta): string {
  const reasons = listed(remarks.map(describeRemark));
  return originalLength === null ? reasons : `${reasons} (original length ${originalLength})`;
}

function listed(texts: string[]): string {
  const more = texts.length - SHOWN_REASONS;
  return texts.slice(0, SHOWN_REASONS).join('; ') + (more > 0 ? `; and ${more} more` : '');
}

/** The mark of a truncated or removed structure. */
export function StructureNote({ meta }: { meta: JsonValue | undefined }) {
  const about = readValueMeta(meta);
  if (about.remarks.length === 0 && about.originalLength === null) return null;
  const text =
    about.remarks.length > 0
      ? explain(about)
      : `Truncated: originally ${about.originalLength ?? 0} items`;
  return (
    <Tooltip text={text} className="fc-redacted">
      trimmed
    </Tooltip>
  );
}
