import { useState } from 'react';

import { type JsonValue, member } from '../json.ts';
import { AnnotatedText } from './AnnotatedText.tsx';
import { ClippedBox } from './ClippedBox.tsx';
import { ShowMore, usePages } from './pages.tsx';
import { sortRegisters } from './registerOrder.ts';
import { formatRegister, type RegisterView } from './registerValue.ts';
import { SafeText } from './SafeText.tsx';

const CLIP_HEIGHT_PX = 120;

interface Props {
  registers: Record<string, JsonValue>;
  meta: JsonValue | undefined;
  deviceArch: string | null;
}

export function FrameRegisters({ registers, meta, deviceArch }: Props) {
  const known = sortRegisters(registers, deviceArch).filter(([, value]) => value !== null);
  const pages = usePages(known);
  return (
    <div
      role="group"
      className="fc-block fc-registers"
      aria-label="Registers"
      onClick={(event) => {
        event.stopPropagation();
      }}
    >
      <div className="fc-block-head">
        <span>Registers</span>
      </div>
      <ClippedBox clipHeightPx={CLIP_HEIGHT_PX} what="registers">
        <ul className="fc-register-grid">
          {pages.shown.map(([name, value]) => (
            <Register key={name} name={name} value={value} meta={member(meta, name)} />
          ))}
        </ul>
        <ShowMore pages={pages} what="registers" />
      </ClippedBox>
    </div>
  );
}

interface RegisterProps {
  name: string;
  value: JsonValue;
  meta: JsonValue | undefined;
}

function Register({ name, value, meta }: RegisterProps) {
  const [view, setView] = useState<RegisterView>('hexadecimal');
  const other = view === 'hexadecimal' ? 'decimal' : 'hexadecimal';
  return (
    <li className="fc-register">
      <span className="fc-register-name">
        <SafeText text={name} />
      </span>
      <button
        type="button"
        className="fc-register-value"
        title={`Show as ${other}`}
        data-view={view}
        onClick={() => {
          setView(other);
        }}
      >
        <AnnotatedText text={formatRegister(value, view)} meta={meta} />
      </button>
    </li>
  );
}
