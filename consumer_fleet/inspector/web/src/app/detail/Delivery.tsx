import { CopyButton } from '../../context/CopyButton';
import { SafeText } from '../../context/SafeText';
import type { Answer, DeadLetter, Origin, Summary } from '../../api/types';
import { formatMoment } from '../format';

/** The envelope's Kafka position and the responses of the destinations. */
export function Delivery({ summary }: { summary: Summary }) {
  const { origin, answers } = summary;
  return (
    <dl className="facts" aria-label="Delivery">
      <div className="fact">
        <dt>Kafka</dt>
        <dd>
          {origin === null ? (
            <span className="hint">not from Kafka</span>
          ) : (
            <span data-testid="origin">
              <SafeText text={origin.topic} /> <span className="dim">partition</span>{' '}
              {origin.partition} <span className="dim">offset</span> {origin.offset}
              {origin.timestamp_ms !== null && (
                <span className="dim"> {formatMoment(origin.timestamp_ms / 1000)}</span>
              )}
            </span>
          )}
        </dd>
      </div>
      <div className="fact">
        <dt>Responses</dt>
        <dd>
          {answers.length === 0 && <span className="hint">none recorded</span>}
          <ul className="answers" aria-label="Responses of destinations">
            {answers.map((answer, index) => (
              <AnswerChip key={index} answer={answer} />
            ))}
          </ul>
        </dd>
      </div>
    </dl>
  );
}

function AnswerChip({ answer }: { answer: Answer }) {
  const { destination, status, detail, at } = answer;
  const isAccepted = status !== null && status >= 200 && status < 300;
  return (
    <li className="chip" data-tone={isAccepted ? 'good' : 'bad'}>
      <SafeText text={destination} /> <strong>{status ?? 'no response'}</strong>
      {typeof detail === 'string' && detail !== '' && (
        <>
          {' '}
          <SafeText text={detail} />
        </>
      )}
      {typeof at === 'number' && <span className="dim"> {formatMoment(at)}</span>}
    </li>
  );
}

interface NoticeProps {
  deadLetter: DeadLetter;
  /** The letter's position in the dead-letter topic. */
  origin: Origin | null;
}

/** The reason why the message was not delivered, and how to send it again. */
export function DeadLetterNotice({ deadLetter, origin }: NoticeProps) {
  const { reason, detail, group, topic, partition, offset } = deadLetter;
  const position = [
    topic,
    partition === null ? null : `partition ${partition}`,
    offset === null ? null : `offset ${offset}`,
  ].filter((part) => part !== null);
  return (
    <section className="notice" data-tone="bad" aria-label="Dead letter">
      <p className="notice-title">
        Dead letter: <SafeText text={reason} />
      </p>
      {detail !== null && detail !== '' && (
        <p>
          <SafeText text={detail} />
        </p>
      )}
      <p className="dim">
        {group !== null && (
          <>
            rejected by group <SafeText text={group} />
          </>
        )}
        {position.length > 0 && (
          <>
            {' '}
            at <SafeText text={position.join(' ')} />
          </>
        )}
      </p>
      {origin !== null && (
        <p className="replay">
          <span className="dim">Replay it (add --yes, and the brokers if needed):</span>{' '}
          <code>
            <SafeText text={replayCommand(deadLetter, origin)} />
          </code>{' '}
          <CopyButton label="Copy command" text={() => replayCommand(deadLetter, origin)} />
        </p>
      )}
    </section>
  );
}

/** The command that sends this one message again. */
export function replayCommand({ topic, partition }: DeadLetter, dead: Origin): string {
  const from =
    topic === null || partition === null ? '' : ` --origin ${quoted(`${topic}/${partition}`)}`;
  const range = `--since ${dead.offset} --until ${dead.offset + 1}`;
  return `consumer dlq replay --dlq-topic ${quoted(dead.topic)} ${range}${from}`;
}

/** For a shell: the header of a dead letter may contain anything. */
function quoted(text: string): string {
  return /^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
