import type { ReactNode } from 'react';

// Characters that hide or reorder their neighbours: controls (but tab and newline), zero-width
// characters, bidirectional overrides and isolates, line separators, unpaired surrogates. The
// joiners U+200C and U+200D stay: scripts and emoji need them.
const INVISIBLE =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

// Beyond this number they are shown without an element each, to limit elements.
const MAX_MARKED = 100;
// Longer names can be read in the event's JSON.
const MAX_NAME_LENGTH = 5_000;

/** Text in which characters that hide or reorder others are shown as code points. */
export function revealInvisible(text: string): ReactNode {
  const parts: ReactNode[] = [];
  let end = 0;
  for (const match of text.matchAll(INVISIBLE)) {
    if (parts.length >= 2 * MAX_MARKED) break;
    parts.push(text.slice(end, match.index));
    parts.push(
      <span className="fc-invisible" key={match.index}>
        {codePoint(match[0])}
      </span>,
    );
    end = match.index + match[0].length;
  }
  return parts.length === 0 ? text : [...parts, revealInvisibleText(text.slice(end))];
}

/** The same for places that allow only plain text, such as an <option>. */
export function revealInvisibleText(text: string): string {
  return text.replaceAll(INVISIBLE, codePoint);
}

function codePoint(character: string): string {
  const hex = character.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0');
  return `U+${hex}`;
}

/** A text from an event, isolated: its direction can't reorder the page around it. */
export function SafeText({ text }: { text: string }) {
  const isCut = text.length > MAX_NAME_LENGTH;
  return <bdi>{revealInvisible(isCut ? `${text.slice(0, MAX_NAME_LENGTH)} …` : text)}</bdi>;
}
