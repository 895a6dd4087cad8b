import type { JsonValue } from '../json/value';
import { describeRemark, readValueMeta, splitChunks, type ValueMeta } from './redaction';
import { revealInvisible, SafeText } from './SafeText';
import { Tooltip } from './Tooltip';

interface Props {
  text: string;
  meta: JsonValue | undefined;
}

/** A text of the event; where `_meta` says that it was redacted, by which rule and how. */
export function AnnotatedText({ text, meta }: Props) {
  const about = readValueMeta(meta);
  return (
    <>
      <RedactedText text={text} about={about} />
      {about.errors.map((error) => (
        <Tooltip key={error} text={`Processing error: ${error}`} className="fc-error-mark">
          !
        </Tooltip>
      ))}
    </>
  );
}

function RedactedText({ text, about }: { text: string; about: ValueMeta }) {
  const [first] = about.remarks;
  if (first === undefined) return <SafeText text={text} />;
  const chunks = splitChunks(text, about.remarks);
  if (!chunks.some((chunk) => chunk.remark !== null && chunk.text !== '')) {
    return (
      <Tooltip text={explain(about)} className="fc-redacted">
        <SafeText text={text === '' ? '<redacted>' : text} />
      </Tooltip>
    );
  }
  return (
    <bdi>
      {chunks.map((chunk, index) =>
        chunk.remark === null ? (
          <span key={index}>{revealInvisible(chunk.text)}</span>
        ) : (
          <Tooltip key={index} text={describeRemark(chunk.remark)} className="fc-redacted">
            {chunk.text === '' ? '<redacted>' : revealInvisible(chunk.text)}
          </Tooltip>
        ),
      )}
    </bdi>
  );
}

function explain({ remarks, originalLength }: ValueMeta): string {
  const reasons = remarks.map(describeRemark).join('; ');
  return originalLength === null ? reasons : `${reasons} (originally ${originalLength} long)`;
}

/** The mark that a structure, not a text, was cut or removed. */
export function StructureNote({ meta }: { meta: JsonValue | undefined }) {
  const about = readValueMeta(meta);
  if (about.remarks.length === 0 && about.originalLength === null) return null;
  const text =
    about.remarks.length > 0
      ? explain(about)
      : `Cut: originally ${about.originalLength ?? 0} items`;
  return (
    <Tooltip text={text} className="fc-redacted">
      trimmed
    </Tooltip>
  );
}
