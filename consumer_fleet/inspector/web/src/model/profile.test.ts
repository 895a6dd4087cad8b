import { expect, test } from 'vitest';

import { readProfile } from './profile';

const FRAMES = [
  { function: 'wait', filename: 'lib.py', lineno: 3 },
  { function: 'work', module: 'app', in_app: true },
];

test('frames are counted by samples, those that ran most first', () => {
  const samples = [
    { stack_id: 0, thread_id: '1', elapsed_since_start_ns: 0 },
    { stack_id: 1, thread_id: '1', elapsed_since_start_ns: 1_000_000_000 },
    { stack_id: 1, thread_id: '2', elapsed_since_start_ns: 2_500_000_000 },
  ];
  const profile = readProfile({
    profile: {
      frames: FRAMES,
      stacks: [
        [0, 1],
        [1, 1],
      ],
      samples,
    },
  });
  expect(profile).toEqual({
    durationS: 2.5,
    samples: 3,
    threads: 2,
    frames: [
      { name: 'work', location: 'app', isInApp: true, self: 2, total: 3 },
      { name: 'wait', location: 'lib.py:3', isInApp: false, self: 1, total: 1 },
    ],
    boxes: [
      { name: 'work', location: 'app', isInApp: true, depth: 0, start: 0, samples: 3 },
      { name: 'work', location: 'app', isInApp: true, depth: 1, start: 0, samples: 2 },
      { name: 'wait', location: 'lib.py:3', isInApp: false, depth: 1, start: 2, samples: 1 },
    ],
  });
});

test('of a deep and wide profile, a limited number of boxes is drawn', () => {
  const frames = Array.from({ length: 2_000 }, (_, index) => ({ function: `f${index}` }));
  const stacks = frames.map((_, index) => [...Array<number>(200).fill(index), 0]);
  const samples = frames.map((_, index) => ({ stack_id: index % 150 }));
  const boxes = readProfile({ profile: { frames, stacks, samples } })?.boxes ?? [];
  expect(boxes).toHaveLength(1_000);
  expect(Math.max(...boxes.map(({ depth }) => depth))).toBeLessThan(50);
  for (const { start, samples: width } of boxes) expect(start + width).toBeLessThanOrEqual(2_000);
});

test.each([
  [{ samples: [{ stack_id: 9 }, 'x', { stack_id: 0 }], stacks: [[7, -1, 'x']] }],
  [{ samples: [{}], stacks: 3, frames: {} }],
])('a damaged profile has no frames: %j', (profile) => {
  expect(readProfile({ profile })).toMatchObject({ durationS: null, frames: [], boxes: [] });
});

test('what has no samples is not a profile', () => {
  expect(readProfile({ profile: { samples: [] } })).toBeNull();
  expect(readProfile(null)).toBeNull();
});
