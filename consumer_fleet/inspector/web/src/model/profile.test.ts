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
  });
});

test.each([
  [{ samples: [{ stack_id: 9 }, 'x', { stack_id: 0 }], stacks: [[7, -1, 'x']] }],
  [{ samples: [{}], stacks: 3, frames: {} }],
])('a damaged profile has no frames: %j', (profile) => {
  expect(readProfile({ profile })).toMatchObject({ durationS: null, frames: [] });
});

test('what has no samples is not a profile', () => {
  expect(readProfile({ profile: { samples: [] } })).toBeNull();
  expect(readProfile(null)).toBeNull();
});
