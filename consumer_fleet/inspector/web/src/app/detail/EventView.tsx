import { AnnotatedText } from '../../context/AnnotatedText';
import type { CoverageCache } from '../../context/coverageCache';
import { ShowMore, usePages } from '../../context/pages';
import { SafeText } from '../../context/SafeText';
import { StructuredValue } from '../../context/StructuredValue';
import type { EventModel, EventSection, Tag } from '../../model/event';
import { StackTrace } from '../stacktrace/StackTrace';
import { Breadcrumbs } from './Breadcrumbs';
import { Exceptions } from './Exceptions';
import { KeyValues } from './KeyValues';
import { Section } from './Section';
import { Threads } from './Threads';

// Each card shows a page of names and values.
const CARDS_PAGE_SIZE = 20;

interface Props {
  event: EventModel;
  coverage: CoverageCache | null;
}

/** The whole event, its exceptions first. */
export function EventView({ event, coverage }: Props) {
  return (
    <>
      {event.message !== null && event.message !== '' && (
        <Section title="Message">
          <p className="message">
            <AnnotatedText text={event.message} meta={event.messageMeta} />
          </p>
        </Section>
      )}
      <Exceptions event={event} coverage={coverage} />
      {event.stacktrace !== null && (
        <Section title="Stack trace">
          <StackTrace
            event={event}
            stacktrace={event.stacktrace}
            heading={event.message ?? 'Stack trace'}
            coverage={coverage}
          />
        </Section>
      )}
      <Threads event={event} coverage={coverage} />
      <Tags tags={event.tags} />
      <Breadcrumbs breadcrumbs={event.breadcrumbs} />
      <Cards sections={event.sections} />
    </>
  );
}

function Tags({ tags }: { tags: Tag[] }) {
  const pages = usePages(tags);
  if (tags.length === 0) return null;
  return (
    <Section title="Tags">
      <dl className="tags">
        {pages.shown.map(({ key, value, meta }, index) => (
          <div className="tag" key={index}>
            <dt>
              <SafeText text={key} />
            </dt>
            <dd>
              <StructuredValue value={value} meta={meta} />
            </dd>
          </div>
        ))}
      </dl>
      <ShowMore pages={pages} what="tags" className="wide-button" />
    </Section>
  );
}

function Cards({ sections }: { sections: EventSection[] }) {
  const pages = usePages(sections, { size: CARDS_PAGE_SIZE });
  return (
    <>
      <div className="cards">
        {pages.shown.map((section) => (
          <Card key={section.name} section={section} />
        ))}
      </div>
      <ShowMore pages={pages} what="contexts" className="wide-button" />
    </>
  );
}

function Card({ section }: { section: EventSection }) {
  return (
    <Section title={<SafeText text={section.title} />} className="card">
      <KeyValues values={section.value} meta={section.meta} />
    </Section>
  );
}
