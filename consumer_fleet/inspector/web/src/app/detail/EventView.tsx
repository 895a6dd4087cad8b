import type { ReactNode } from 'react';

import { AnnotatedText } from '../../context/AnnotatedText';
import type { CoverageCache } from '../../context/coverageCache';
import { ShowMore, usePages } from '../../context/pages';
import { SafeText } from '../../context/SafeText';
import { StructuredValue } from '../../context/StructuredValue';
import type { EventModel, EventSection, Tag } from '../../model/event';
import { StackTrace } from '../stacktrace/StackTrace';
import { Breadcrumbs } from './Breadcrumbs';
import { Exceptions } from './Exceptions';
import { EventLink } from './ItemsView';
import { KeyValues } from './KeyValues';
import { Section } from './Section';
import { Threads } from './Threads';

// Each card shows a page of names and values.
const CARDS_PAGE_SIZE = 20;

interface Props {
  event: EventModel;
  coverage: CoverageCache | null;
  /** The parts of the entry that belong to the event: its attachments. */
  children?: ReactNode;
}

/** The whole event, its exceptions first. */
export function EventView({ event, coverage, children }: Props) {
  return (
    <>
      {event.feedback !== null && <Feedback feedback={event.feedback} />}
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
      {children}
      <Tags tags={event.tags} />
      <Breadcrumbs breadcrumbs={event.breadcrumbs} />
      <Cards sections={event.sections} />
    </>
  );
}

function Feedback({ feedback }: { feedback: NonNullable<EventModel['feedback']> }) {
  return (
    <Section title="Feedback">
      <p className="feedback">
        <AnnotatedText text={feedback.message} meta={undefined} />
      </p>
      <p className="dim">
        <SafeText text={feedback.from} />
      </p>
      {feedback.eventId !== null && <EventLink eventId={feedback.eventId} />}
    </Section>
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
