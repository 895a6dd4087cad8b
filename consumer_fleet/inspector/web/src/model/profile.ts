import { asArray, asNumber, asObject, asText, type JsonValue, member } from '../json.ts';

export interface ProfileFrame {
  name: string;
  location: string;
  isInApp: boolean;
  /** In how many samples it was the innermost frame, and in how many it was at all. */
  self: number;
  total: number;
}

/** A function called by the box above it, and the samples in which it was called that way. */
export interface FlameBox {
  name: string;
  location: string;
  isInApp: boolean;
  /** 0 for the outermost function. */
  depth: number;
  /** In samples, from the left edge. */
  start: number;
  samples: number;
}

export interface Profile {
  /** Null if the samples have no times. */
  durationS: number | null;
  samples: number;
  threads: number;
  /** Those that ran most, first. */
  frames: ProfileFrame[];
  /** Those above before those below, without the narrowest and the deepest ones. */
  boxes: FlameBox[];
}

const NANOSECONDS = 1e9;
// A box is left out if it would be drawn a few pixels wide, or below this depth.
const MIN_SHARE = 0.005;
const MAX_DEPTH = 50;
const MAX_BOXES = 1_000;

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
  const described = asArray(profile.frames);
  const frames = described.flatMap((frame, index): ProfileFrame[] => {
    const count = counts.get(index);
    return count === undefined ? [] : [{ ...describeFrame(frame), ...count }];
  });
  frames.sort((a, b) => b.self - a.self || b.total - a.total);
  return {
    durationS: times.last >= times.first ? times.last - times.first : null,
    samples: samples.length,
    threads: threads.size,
    frames,
    boxes: flameBoxes(described, stacks, perStack, samples.length),
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

interface Call {
  samples: number;
  calls: Map<number, Call>;
}

/** The tree of calls, each with what it called side by side below it, the most frequent first. */
function flameBoxes(
  frames: JsonValue[],
  stacks: JsonValue[],
  perStack: Map<number, number>,
  total: number,
): FlameBox[] {
  const root: Call = { samples: total, calls: new Map() };
  for (const [stack, samples] of perStack) {
    let call = root;
    for (const value of asArray(stacks[stack]).slice(-MAX_DEPTH).reverse()) {
      const index = asNumber(value);
      if (index === null || frames[index] === undefined) break;
      const known = call.calls.get(index) ?? { samples: 0, calls: new Map<number, Call>() };
      call.calls.set(index, known);
      known.samples += samples;
      call = known;
    }
  }
  const boxes: FlameBox[] = [];
  const waiting = [{ call: root, depth: 0, start: 0 }];
  // The array grows while it is read.
  for (const { call, depth, start } of waiting) {
    let left = start;
    for (const [index, each] of [...call.calls].sort(([, a], [, b]) => b.samples - a.samples)) {
      if (each.samples < total * MIN_SHARE || boxes.length >= MAX_BOXES) break;
      const frame = describeFrame(frames[index] ?? null);
      boxes.push({ ...frame, depth, start: left, samples: each.samples });
      waiting.push({ call: each, depth: depth + 1, start: left });
      left += each.samples;
    }
  }
  return boxes;
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
