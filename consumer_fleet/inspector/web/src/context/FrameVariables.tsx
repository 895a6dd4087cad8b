import { type JsonObject, type JsonValue, member, printJson } from '../json.ts';
import { ClippedBox } from './ClippedBox.tsx';
import { CopyButton } from './CopyButton.tsx';
import { ShowMore, usePages } from './pages.tsx';
import { SafeText } from './SafeText.tsx';
import { StructuredValue } from './StructuredValue.tsx';

const CLIP_HEIGHT_PX = 100;

interface Props {
  data: JsonObject;
  meta: JsonValue | undefined;
  platform: string | null;
}

export function FrameVariables({ data, meta, platform }: Props) {
  const pages = usePages(Object.entries(data));
  return (
    // A host page may fold the frame on any click: clicks in here are meant for a value.
    <div
      role="group"
      className="fc-block fc-variables"
      aria-label="Variables"
      onClick={(event) => {
        event.stopPropagation();
      }}
    >
      <div className="fc-block-head">
        <span>Variables</span>
        <CopyButton label="Copy variables" text={() => printJson(data)} />
      </div>
      <ClippedBox clipHeightPx={CLIP_HEIGHT_PX} what="variables">
        <dl className="fc-pairs">
          {pages.shown.map(([name, value]) => (
            <div className="fc-pair" key={name}>
              <dt>
                <SafeText text={name} />
              </dt>
              <dd>
                <StructuredValue value={value} meta={member(meta, name)} platform={platform} />
              </dd>
            </div>
          ))}
        </dl>
        <ShowMore pages={pages} what="variables" />
      </ClippedBox>
    </div>
  );
}
