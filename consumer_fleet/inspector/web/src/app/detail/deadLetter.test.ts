import { expect, test } from 'vitest';

import { replayCommand } from './Delivery';
import { hexDump } from './Undecodable';

const LETTER = { reason: 'r', detail: '', group: 'g', topic: 'events', partition: 3, offset: 77 };
const DEAD = { topic: 'events-dlq', partition: 0, offset: 5, timestamp_ms: null };

test('the command replays this one letter', () => {
  expect(replayCommand(LETTER, DEAD)).toBe(
    'consumer dlq replay --dlq-topic events-dlq --since 5 --until 6 --origin events/3',
  );
});

test('a topic from a header is quoted for a shell', () => {
  expect(replayCommand({ ...LETTER, topic: "a'; rm -r /" }, DEAD)).toContain(
    String.raw`--origin 'a'\''; rm -r //3'`,
  );
  expect(replayCommand({ ...LETTER, topic: null }, DEAD)).not.toContain('--origin');
});

test('bytes are shown in hexadecimal and in ASCII', () => {
  const hex = Array.from('event\u0000\u007f'.repeat(3), (letter) =>
    letter.charCodeAt(0).toString(16).padStart(2, '0'),
  );
  expect(hexDump(hex.join(' '))).toBe(
    '0000  65 76 65 6e 74 00 7f 65 76 65 6e 74 00 7f 65 76  event..event..ev\n' +
      `0010  65 6e 74 00 7f ${' '.repeat(33)} ent..`,
  );
  expect(hexDump('')).toBe('');
});
