import { AnnotatedText } from '../../context/AnnotatedText';
import type { CoverageCache } from '../../context/coverageCache';
import { ShowMore, usePages } from '../../context/pages';
import { revealInvisibleText, SafeText } from '../../context/SafeText';
import { member } from '../../json';
import type { EventModel, ExceptionValue, Mechanism } from '../../model/event';
import { StackTrace } from '../stacktrace/StackTrace';
import { formatCount } from '../format';
import { KeyValues } from './KeyValues';
import { Section } from './Section';

// Each exception may have hundreds of frames.
const PAGE_SIZE = 5;

interface Props {
  event: EventModel;
  coverage: CoverageCache | null;
}

/** The exception chain, last raised first; each was caused by the one below it. */
export function Exceptions({ event, coverage }: Props) {
  const chain = event.exceptions.toReversed();
  const pages = usePages(chain, { size: PAGE_SIZE });
  if (chain.length === 0) return null;
  return (
    <Section
      title={chain.length === 1 ? 'Exception' : 'Exceptions'}
      note={chain.length > 1 ? formatCount(chain.length, 'exception') : undefined}
    >
      {pages.shown.map((exception, index) => (
        <ExceptionBlock
          key={index}
          event={event}
          exception={exception}
          isCause={index > 0}
          coverage={coverage}
        />
      ))}
      <ShowMore pages={pages} what="exceptions" className="wide-button" />
    </Section>
  );
}

interface BlockProps {
  event: EventModel;
  exception: ExceptionValue;
  isCause: boolean;
  coverage: CoverageCache | null;
}

function ExceptionBlock({ event, exception, isCause, coverage }: BlockProps) {
  const { type, value, module, mechanism, stacktrace, meta } = exception;
  const title = type ?? 'Unnamed exception';
  return (
    <article className="exception" aria-label={revealInvisibleText(title)}>
      {isCause && <p className="cause">caused by</p>}
      <h4 className="exception-type">
        {module !== null && !isAssembly(module) && (
          <span className="exception-module">
            <SafeText text={module} />.
          </span>
        )}
        <SafeText text={title} />
      </h4>
      {module !== null && isAssembly(module) && (
        <p className="dim">
          <SafeText text={module} />
        </p>
      )}
      {value !== null && value !== '' && (
        <p className="exception-value">
          <AnnotatedText text={value} meta={member(meta, 'value')} />
        </p>
      )}
      {mechanism !== null && <MechanismFacts mechanism={mechanism} />}
      {stacktrace !== null && (
        <StackTrace
          event={event}
          stacktrace={stacktrace}
          heading={`${title}: ${value ?? ''}`}
          coverage={coverage}
        />
      )}
    </article>
  );
}

/** .NET names the assembly here, which is not a prefix of the type's name. */
function isAssembly(module: string): boolean {
  return module.includes(', Version=');
}

function MechanismFacts({ mechanism }: { mechanism: Mechanism }) {
  const { type, handled, data, dataMeta } = mechanism;
  return (
    <div className="mechanism">
      {type !== null && (
        <span className="chip">
          mechanism <SafeText text={type} />
        </span>
      )}
      {handled !== null && (
        <span className="chip" data-tone={handled ? 'plain' : 'bad'}>
          {handled ? 'handled' : 'unhandled'}
        </span>
      )}
      {Object.keys(data).length > 0 && <KeyValues values={data} meta={dataMeta} />}
    </div>
  );
}
