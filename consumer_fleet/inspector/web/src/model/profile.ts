import { asArray, asNumber, asObject, asText, type JsonValue, member } from '../json.ts';

export interface ProfileFrame {
  name: string;
  location: string;
  isInApp: boolean;
  /** In how many samples it was the innermost frame, and in how many it was at all. */
  self: number;
  total: number;
}

export interface Profile {
  /** Null if the samples have no times. */
  durationS: number | null;
  samples: number;
  threads: number;
  /** Those that ran most, first. */
  frames: ProfileFrame[];
}

const NANOSECONDS = 1e9;

/** Count the samples of a profile (a transaction's, or a chunk); null if it has none. */
export function readProfile(payload: JsonValue): Profile | null {
  const profile = asObject(member(payload, 'profile'));
  const samples = asArray(profile.samples);
  if (samples.length === 0) return null;
  const stacks = asArray(profile.stacks);
  const perStack = new Map<number, number>();
  const threads = new Set<string>();
  const times = { first: Infinity, last: -Infinity };
  for (const sample of samples) {
    const stack = asNumber(member(sample, 'stack_id'));
    if (stack !== null) perStack.set(stack, (perStack.get(stack) ?? 0) + 1);
    const thread = asText(member(sample, 'thread_id'));
    if (thread !== null) threads.add(thread);
    const time = timeS(sample);
    if (time === null) continue;
    times.first = Math.min(times.first, time);
    times.last = Math.max(times.last, time);
  }
  const counts = countFrames(stacks, perStack);
  const frames = asArray(profile.frames).flatMap((frame, index): ProfileFrame[] => {
    const count = counts.get(index);
    return count === undefined ? [] : [{ ...describeFrame(frame), ...count }];
  });
  frames.sort((a, b) => b.self - a.self || b.total - a.total);
  return {
    durationS: times.last >= times.first ? times.last - times.first : null,
    samples: samples.length,
    threads: threads.size,
    frames,
  };
}

function timeS(sample: JsonValue): number | null {
  const elapsed = asNumber(member(sample, 'elapsed_since_start_ns'));
  return elapsed === null ? asNumber(member(sample, 'timestamp')) : elapsed / NANOSECONDS;
}

interface Count {
  self: number;
  total: number;
}

/** Stacks list the innermost frame first; a recursive frame counts once in a sample. */
function countFrames(stacks: JsonValue[], perStack: Map<number, number>): Map<number, Count> {
  const counts = new Map<number, Count>();
  for (const [stack, samples] of perStack) {
    const indexes = asArray(stacks[stack]).flatMap((index) => asNumber(index) ?? []);
    for (const index of new Set(indexes)) {
      const known = counts.get(index) ?? { self: 0, total: 0 };
      known.total += samples;
      if (index === indexes[0]) known.self += samples;
      counts.set(index, known);
    }
  }
  return counts;
}

function describeFrame(frame: JsonValue): Pick<ProfileFrame, 'name' | 'location' | 'isInApp'> {
  const file = asText(member(frame, 'filename')) ?? asText(member(frame, 'module')) ?? '';
  const line = asText(member(frame, 'lineno'));
  return {
    name: asText(member(frame, 'function')) ?? '<unknown>',
    location: line === null || file === '' ? file : `${file}:${line}`,
    isInApp: member(frame, 'in_app') === true,
  };
}
