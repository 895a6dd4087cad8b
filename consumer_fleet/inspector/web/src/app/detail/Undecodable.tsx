import { rawPath } from '../../api/client';
import type { Entry } from '../../api/types';
import { SafeText } from '../../context/SafeText';
import { formatBytes } from '../format';

const BYTES_PER_LINE = 16;

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
        <SafeText text={hexDump(problem.hex_preview)} />
      </pre>
      <a className="button" href={rawPath(entry.ref)} download={`message-${id}.bin`}>
        Download the message ({formatBytes(sizeBytes)})
      </a>
    </>
  );
}

/** Lines of an offset, bytes in hexadecimal, and those that are printable ASCII. */
export function hexDump(hex: string): string {
  const bytes = hex === '' ? [] : hex.split(' ');
  const lines: string[] = [];
  for (let start = 0; start < bytes.length; start += BYTES_PER_LINE) {
    const part = bytes.slice(start, start + BYTES_PER_LINE);
    const offset = start.toString(16).padStart(4, '0');
    lines.push(
      `${offset}  ${part.join(' ').padEnd(BYTES_PER_LINE * 3)} ${part.map(ascii).join('')}`,
    );
  }
  return lines.join('\n');
}

function ascii(byte: string): string {
  const code = Number.parseInt(byte, 16);
  return code >= 0x20 && code < 0x7f ? String.fromCharCode(code) : '.';
}
