import { useState } from 'react';

import { itemPath } from '../../api/client';
import type { Entry, EntryRef, EnvelopeItem } from '../../api/types';
import { AnnotatedText } from '../../context/AnnotatedText';
import { ShowMore, usePages } from '../../context/pages';
import { SafeText } from '../../context/SafeText';
import { asText, member } from '../../json';
import { formatBytes, formatCount } from '../format';
import { LoadedText } from './LoadedText';
import { Section } from './Section';

const PAGE_SIZE = 10;
const MAX_IMAGE_BYTES = 10 * 1024 * 1024;
const MAX_TEXT_BYTES = 256 * 1024;
const IMAGE = /\.(?:png|jpe?g|gif|webp)$/i;
const TEXT = /\.(?:txt|log|json|ya?ml|csv|xml|md|html?|js|css|ini|toml|cfg)$/i;

/** The attachments of an envelope: images and texts are shown, others can be downloaded. */
export function Attachments({ entry }: { entry: Entry }) {
  const attachments = entry.items.filter(({ type }) => type === 'attachment');
  const pages = usePages(attachments, { size: PAGE_SIZE });
  if (attachments.length === 0) return null;
  return (
    <Section title="Attachments" note={formatCount(attachments.length, 'attachment')}>
      <ul className="items" aria-label="Attachments">
        {pages.shown.map((item) => (
          <Attachment key={item.index} entry={entry.ref} item={item} />
        ))}
      </ul>
      <ShowMore pages={pages} what="attachments" className="wide-button" />
    </Section>
  );
}

function Attachment({ entry, item }: { entry: EntryRef; item: EnvelopeItem }) {
  const { index, size_bytes: sizeBytes, header } = item;
  const name = asText(member(header, 'filename')) ?? `attachment ${index}`;
  const type = asText(member(header, 'content_type')) ?? '';
  const isImage = type.startsWith('image/') || IMAGE.test(name);
  const isText = type.startsWith('text/') || type === 'application/json' || TEXT.test(name);
  return (
    <li className="item">
      <div className="item-head">
        <span className="item-type">
          <SafeText text={name} />
        </span>
        <span className="dim">
          <SafeText text={type} />
        </span>
        <span className="item-size">{formatBytes(sizeBytes)}</span>
        <a
          className="button"
          href={itemPath(entry, index)}
          download={`attachment-${entry.id}-${index}.bin`}
          aria-label={`Download attachment ${index}`}
        >
          Download
        </a>
      </div>
      {isImage && sizeBytes <= MAX_IMAGE_BYTES && (
        <Picture path={itemPath(entry, index)} name={name} />
      )}
      {isText && !isImage && sizeBytes <= MAX_TEXT_BYTES && (
        <LoadedText entry={entry} index={index}>
          {(text) => (
            <pre className="payload" tabIndex={0} aria-label="Text of the attachment">
              <AnnotatedText text={text} meta={undefined} />
            </pre>
          )}
        </LoadedText>
      )}
    </li>
  );
}

function Picture({ path, name }: { path: string; name: string }) {
  const [hasFailed, setHasFailed] = useState(false);
  if (hasFailed) return <p className="hint">This is not an image that can be shown safely.</p>;
  return (
    <img
      className="attached-image"
      // The server decides by its bytes whether it is an image; an SVG is not shown.
      src={path}
      alt={`Attachment ${name}`}
      loading="lazy"
      decoding="async"
      onError={() => {
        setHasFailed(true);
      }}
    />
  );
}
