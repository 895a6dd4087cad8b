import type { Trace } from '../../api/types';
import { SafeText } from '../../context/SafeText';
import type { TraceMark } from '../../model/trace';
import { LevelMark } from '../LevelMark';
import { linkTo } from '../route';

/** A link to an error or to the entry of a log. */
export function MarkLink({ trace, mark }: { trace: Trace; mark: TraceMark }) {
  return (
    <a href={entryLink(trace, mark.entry)}>
      {mark.level !== '' && <LevelMark level={mark.level === 'warn' ? 'warning' : mark.level} />}{' '}
      {mark.kind === 'log' && <span className="dim">log </span>}
      <SafeText text={mark.title === '' ? '(no message)' : mark.title} />
    </a>
  );
}

/** The address of an entry of the trace. */
export function entryLink({ entries, store }: Trace, id: number): string {
  const eventId = entries[String(id)]?.event_id ?? null;
  return linkTo({ target: { eventId, entry: { store, id } } });
}
