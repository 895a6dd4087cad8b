import { AnnotatedText } from '../../context/AnnotatedText';
import { ShowMore, usePages } from '../../context/pages';
import { SafeText } from '../../context/SafeText';
import { member } from '../../json';
import type { Breadcrumb } from '../../model/event';
import { readTimestampS } from '../../model/timestamp';
import { formatCount, formatTime, isoTime } from '../format';
import { KeyValues } from './KeyValues';
import { Section } from './Section';

const SHOWN_AT_FIRST = 15;
const DATA_PAGE_SIZE = 20;

/** The breadcrumbs of the event, latest first. */
export function Breadcrumbs({ breadcrumbs }: { breadcrumbs: Breadcrumb[] }) {
  const pages = usePages(breadcrumbs.toReversed(), { first: SHOWN_AT_FIRST });
  if (breadcrumbs.length === 0) return null;
  return (
    <Section title="Breadcrumbs" note={formatCount(breadcrumbs.length, 'breadcrumb')}>
      <ol className="crumbs">
        {pages.shown.map((crumb, index) => (
          <Crumb key={index} crumb={crumb} />
        ))}
      </ol>
      <ShowMore pages={pages} what="breadcrumbs" className="wide-button" />
    </Section>
  );
}

function Crumb({ crumb }: { crumb: Breadcrumb }) {
  const { timestamp, type, category, level, message, data, meta } = crumb;
  const timeS = readTimestampS(timestamp);
  return (
    <li className="crumb" data-level={level ?? 'info'}>
      <span className="crumb-time" title={timeS === null ? undefined : isoTime(timeS)}>
        {timeS === null ? '' : formatTime(timeS)}
      </span>
      <span className="crumb-category">
        <SafeText text={category ?? type ?? 'default'} />
      </span>
      <div className="crumb-body">
        {level !== null && level !== 'info' && (
          <span className="crumb-level">
            <SafeText text={level} />{' '}
          </span>
        )}
        {message !== null && <AnnotatedText text={message} meta={member(meta, 'message')} />}
        {Object.keys(data).length > 0 && (
          <KeyValues values={data} meta={member(meta, 'data')} pageSize={DATA_PAGE_SIZE} />
        )}
      </div>
    </li>
  );
}
