import { printJson } from '../json/print';
import { member, type JsonObject, type JsonValue } from '../json/value';
import { ClippedBox } from './ClippedBox';
import { CopyButton } from './CopyButton';
import { SafeText } from './SafeText';
import { StructuredValue } from './StructuredValue';

const CLIP_HEIGHT_PX = 100;

interface Props {
  data: JsonObject;
  meta: JsonValue | undefined;
  platform: string | null;
}

export function FrameVariables({ data, meta, platform }: Props) {
  return (
    // A host may fold the frame on any click: one in here is meant for a value.
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
          {Object.entries(data).map(([name, value]) => (
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
      </ClippedBox>
    </div>
  );
}
