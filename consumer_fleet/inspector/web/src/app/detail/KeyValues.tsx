import { ShowMore, usePages } from '../../context/pages';
import { SafeText } from '../../context/SafeText';
import { StructuredValue } from '../../context/StructuredValue';
import { type JsonObject, type JsonValue, member } from '../../json';

interface Props {
  values: JsonObject;
  meta?: JsonValue | undefined;
  /** The page size, smaller where there are many of these lists. */
  pageSize?: number | undefined;
}

/** Names and values of the event as a definition list. */
export function KeyValues({ values, meta, pageSize }: Props) {
  const pages = usePages(Object.entries(values), { size: pageSize });
  return (
    <>
      <dl className="fc-pairs">
        {pages.shown.map(([name, value]) => (
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
      <ShowMore pages={pages} />
    </>
  );
}
