import { useState } from 'react';

import { SafeText } from '../../context/SafeText';
import { asText, type JsonObject } from '../../json';
import { linkTo } from '../route';
import { KeyValues } from './KeyValues';

const PAGE_SIZE = 50;
const TRACE_ID = /^[0-9a-f-]{32,36}$/i;

interface Props {
  text: string;
  attributes: JsonObject;
}

/** A text that shows its attributes at a click, and a link to its trace. */
export function WithAttributes({ text, attributes }: Props) {
  const [isOpen, setIsOpen] = useState(false);
  const traceId = asText(attributes.trace_id);
  return (
    <>
      <button
        type="button"
        className="log-message"
        aria-expanded={isOpen}
        onClick={() => {
          setIsOpen(!isOpen);
        }}
      >
        <SafeText text={text} />
      </button>
      {isOpen && (
        <>
          <KeyValues values={attributes} pageSize={PAGE_SIZE} />
          {traceId !== null && TRACE_ID.test(traceId) && (
            <a href={linkTo({ traceId })}>Open the trace</a>
          )}
        </>
      )}
    </>
  );
}
