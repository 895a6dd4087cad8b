import { rawPath } from '../../api/client';
import type { Entry } from '../../api/types';
import { SafeText } from '../../context/SafeText';
import { formatBytes } from '../format';

interface Props {
  entry: Entry;
  problem: NonNullable<Entry['undecodable']>;
}

/** An undecodable message: the reason, and its first bytes. */
export function Undecodable({ entry, problem }: Props) {
  const { id, size_bytes: sizeBytes } = entry.summary;
  return (
    <>
      <section className="notice" data-tone="bad" aria-label="Undecodable message">
        <p className="notice-title">This message could not be decoded</p>
        <p>
          <SafeText text={problem.error} />
        </p>
      </section>
      <pre className="payload" aria-label="First bytes" tabIndex={0}>
        <SafeText text={problem.hex_preview} />
      </pre>
      <a className="button" href={rawPath(entry.ref)} download={`message-${id}.bin`}>
        Download the message ({formatBytes(sizeBytes)})
      </a>
    </>
  );
}
