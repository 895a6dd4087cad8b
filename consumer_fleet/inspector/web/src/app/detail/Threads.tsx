import { useId, useState } from 'react';

import type { CoverageCache } from '../../context/coverageCache';
import { ShowMore, usePages } from '../../context/pages';
import { revealInvisibleText } from '../../context/SafeText';
import type { EventModel, Thread } from '../../model/event';
import { formatCount } from '../format';
import { StackTrace } from '../stacktrace/StackTrace';
import { Section } from './Section';

const MAX_NAME_LENGTH = 200;

interface Props {
  event: EventModel;
  coverage: CoverageCache | null;
}

export function Threads({ event, coverage }: Props) {
  const { threads } = event;
  const interesting = threads.findIndex((thread) => thread.crashed);
  const current = threads.findIndex((thread) => thread.current);
  const initial = Math.max(interesting >= 0 ? interesting : current, 0);
  const [selected, setSelected] = useState(initial);
  const pages = usePages(threads, { around: initial });
  const id = useId();
  const thread = threads[selected];
  if (thread === undefined) return null;
  const { stacktrace } = thread;
  return (
    <Section title="Threads" note={formatCount(threads.length, 'thread')}>
      <div className="thread-choice">
        <label htmlFor={id}>Thread</label>
        <select
          id={id}
          value={selected}
          onChange={(change) => {
            setSelected(Number(change.target.value));
          }}
        >
          {pages.shown.map((other, index) => (
            <option key={pages.start + index} value={pages.start + index}>
              {describeThread(other)}
            </option>
          ))}
        </select>
        <ShowMore pages={pages} what="threads" className="button" />
      </div>
      {stacktrace === null ? (
        <p className="hint">
          {isExplainedByException(event, thread)
            ? 'See the stack trace of the exception.'
            : 'This thread has no stack trace.'}
        </p>
      ) : (
        <StackTrace
          key={selected}
          event={event}
          stacktrace={stacktrace}
          heading={describeThread(thread)}
          coverage={coverage}
        />
      )}
    </Section>
  );
}

/** SDKs put the crashed thread's frames in its exception. */
function isExplainedByException(event: EventModel, thread: Thread): boolean {
  return event.exceptions.some(
    ({ threadId, stacktrace }) => stacktrace !== null && threadId === thread.id,
  );
}

function describeThread({ id, name, crashed, current }: Thread): string {
  const marks = [crashed ? 'crashed' : null, current ? 'current' : null].filter(Boolean);
  const named = [`#${id ?? '?'}`, name].filter(Boolean).join(' ');
  const text = revealInvisibleText(named.slice(0, MAX_NAME_LENGTH));
  return marks.length > 0 ? `${text} (${marks.join(', ')})` : text;
}
