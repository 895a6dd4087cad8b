import { SafeText } from '../../context/SafeText';
import type { Answer, DeadLetter, Summary } from '../../api/types';
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

/** The reason why the message was not delivered. */
export function DeadLetterNotice({ deadLetter }: { deadLetter: DeadLetter }) {
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
    </section>
  );
}
