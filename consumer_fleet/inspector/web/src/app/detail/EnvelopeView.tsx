import { useState } from 'react';

import { itemPath, rawPath } from '../../api/client';
import type { Entry, EntryRef, EnvelopeItem } from '../../api/types';
import { AnnotatedText } from '../../context/AnnotatedText';
import { ShowMore, usePages } from '../../context/pages';
import { SafeText } from '../../context/SafeText';
import { asObject, asText, type JsonValue, member, parseJson } from '../../json';
import { formatBytes, formatCount } from '../format';
import { MAX_SHOWN_BYTES } from './ItemsView';
import { JsonView } from './JsonView';
import { KeyValues } from './KeyValues';
import { LoadedText } from './LoadedText';
import { Section } from './Section';

/** The envelope as sent: its header, and its items with their payloads. */
export function EnvelopeView({ entry }: { entry: Entry }) {
  const { summary, header, items } = entry;
  const pages = usePages(items);
  return (
    <>
      <Section title="Envelope header">
        <KeyValues values={asObject(header)} />
      </Section>
      <Section title="Items" note={formatCount(items.length, 'item')}>
        <ol className="items" aria-label="Envelope items">
          {pages.shown.map((item) => (
            <Item key={item.index} entry={entry.ref} item={item} />
          ))}
        </ol>
        <ShowMore pages={pages} what="items" className="wide-button" />
        <a className="button" href={rawPath(entry.ref)} download={`envelope-${summary.id}.bin`}>
          Download the envelope ({formatBytes(summary.size_bytes)})
        </a>
      </Section>
    </>
  );
}

function Item({ entry, item }: { entry: EntryRef; item: EnvelopeItem }) {
  const [isShown, setIsShown] = useState(false);
  const { index, type, size_bytes: sizeBytes, header } = item;
  const filename = asText(member(header, 'filename'));
  return (
    <li className="item">
      <div className="item-head">
        <span className="item-index">{index}</span>
        <span className="item-type">
          <SafeText text={type} />
        </span>
        {filename !== null && (
          <span className="dim">
            <SafeText text={filename} />
          </span>
        )}
        <span className="item-size">{formatBytes(sizeBytes)}</span>
        {sizeBytes <= MAX_SHOWN_BYTES && (
          <button
            type="button"
            className="button"
            aria-expanded={isShown}
            aria-label={`${isShown ? 'Hide' : 'Show'} item ${index}`}
            onClick={() => {
              setIsShown(!isShown);
            }}
          >
            {isShown ? 'Hide' : 'Show'}
          </button>
        )}
        <a
          className="button"
          href={itemPath(entry, index)}
          download={`envelope-${entry.id}-item-${index}.bin`}
          aria-label={`Download item ${index}`}
        >
          Download
        </a>
      </div>
      {isShown && (
        <>
          <KeyValues values={asObject(header)} />
          <LoadedText entry={entry} index={index}>
            {(text) => <Payload text={text} index={index} />}
          </LoadedText>
        </>
      )}
    </li>
  );
}

function Payload({ text, index }: { text: string; index: number }) {
  const json = parseOrNull(text);
  if (json !== undefined) return <JsonView value={json} label={`item ${index}`} />;
  return (
    <pre className="payload">
      <AnnotatedText text={text} meta={undefined} />
    </pre>
  );
}

function parseOrNull(text: string): JsonValue | undefined {
  try {
    return parseJson(text);
  } catch {
    // Many payloads are not a JSON document: session lines, attachments, logs.
    return undefined;
  }
}
