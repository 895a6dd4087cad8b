import type { Status } from '../../api/types';
import { CopyButton } from '../../context/CopyButton';
import { SafeText } from '../../context/SafeText';

interface Props {
  status: Status | null;
  isFiltered: boolean;
  onClear: () => void;
}

const WAITING: Record<Status['source']['kind'], string> = {
  receiver: 'Envelopes appear here as they arrive.',
  demo: 'Envelopes appear here as they arrive.',
  topic: 'Messages appear here as they are read from the topic.',
  dlq: 'This dead-letter topic is empty.',
  recording: 'This recording contains no messages.',
};

export function NoEvents({ status, isFiltered, onClear }: Props) {
  if (isFiltered) {
    return (
      <div className="list-state">
        <p>No matching events</p>
        <button type="button" className="button" onClick={onClear}>
          Clear filters
        </button>
      </div>
    );
  }
  const dsn = status?.dsn ?? null;
  return (
    <div className="list-state">
      <p className="list-state-title">No events yet</p>
      <p>{status === null ? '' : WAITING[status.source.kind]}</p>
      {dsn !== null && (
        <>
          <p>Send events from an SDK to this DSN:</p>
          <p className="dsn">
            <code>
              <SafeText text={dsn} />
            </code>
            <CopyButton label="Copy DSN" text={() => dsn} />
          </p>
        </>
      )}
    </div>
  );
}
