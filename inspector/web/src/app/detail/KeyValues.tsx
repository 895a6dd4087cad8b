import { StructuredValue } from '../../context/StructuredValue';
import { SafeText } from '../../context/SafeText';
import { member, type JsonObject, type JsonValue } from '../../json/value';

interface Props {
  values: JsonObject;
  meta?: JsonValue | undefined;
}

/** Names and values of the event as a definition list. */
export function KeyValues({ values, meta }: Props) {
  return (
    <dl className="fc-pairs">
      {Object.entries(values).map(([name, value]) => (
        <div className="fc-pair" key={name}>
          <dt>
            <SafeText text={name} />
          </dt>
          <dd>
            <StructuredValue value={value} meta={member(meta, name)} />
          </dd>
        </div>
      ))}
    </dl>
  );
}
