import { AnnotatedText } from '../../context/AnnotatedText';
import type { CoverageCache } from '../../context/coverageCache';
import { SafeText } from '../../context/SafeText';
import { StructuredValue } from '../../context/StructuredValue';
import { member } from '../../json/value';
import type { EventModel, EventSection } from '../../model/event';
import { StackTrace } from '../stacktrace/StackTrace';
import { Breadcrumbs } from './Breadcrumbs';
import { Exceptions } from './Exceptions';
import { KeyValues } from './KeyValues';
import { Section } from './Section';
import { Spans } from './Spans';
import { Threads } from './Threads';

interface Props {
  event: EventModel;
  coverage: CoverageCache | null;
}

/** Everything that the event says, the reason for it first. */
export function EventView({ event, coverage }: Props) {
  return (
    <>
      {event.message !== null && event.message !== '' && (
        <Section title="Message">
          <p className="message">
            <AnnotatedText
              text={event.message}
              meta={member(member(member(event.raw, '_meta'), 'logentry'), 'formatted')}
            />
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
      <Spans spans={event.spans} />
      <Tags event={event} />
      <Breadcrumbs breadcrumbs={event.breadcrumbs} />
      <div className="cards">
        {event.sections.map((section) => (
          <Card key={section.name} section={section} />
        ))}
      </div>
    </>
  );
}

function Tags({ event }: { event: EventModel }) {
  if (event.tags.length === 0) return null;
  return (
    <Section title="Tags">
      <dl className="tags">
        {event.tags.map(([key, value], index) => (
          <div className="tag" key={index}>
            <dt>
              <SafeText text={key} />
            </dt>
            <dd>
              <StructuredValue
                value={value}
                meta={member(member(member(event.raw, '_meta'), 'tags'), key)}
              />
            </dd>
          </div>
        ))}
      </dl>
    </Section>
  );
}

function Card({ section }: { section: EventSection }) {
  return (
    <Section title={<SafeText text={section.title} />} className="card">
      <KeyValues values={section.value} meta={section.meta} />
    </Section>
  );
}
