import type { Frame } from '../../model/event';

export type Segment =
  { kind: 'frame'; index: number; repeats: number } | { kind: 'folded'; indexes: number[] };

/** Which frames to show at first, oldest first, as Sentry does.
 *
 * Seen are frames of the application, the foreign frame that each of their runs begins with (who
 * called them), and the last one. A trace without any frame of the application is shown whole.
 */
export function planFrames(frames: Frame[], isAppOnly: boolean): Segment[] {
  const hasAppFrames = frames.some((frame) => frame.inApp);
  const segments: Segment[] = [];
  let repeats = 0;
  frames.forEach((frame, index) => {
    const next = frames[index + 1];
    if (next !== undefined && isRepeated(frame, next)) {
      repeats += 1;
      return;
    }
    const isVisible =
      !isAppOnly || !hasAppFrames || frame.inApp || next === undefined || next.inApp;
    const last = segments.at(-1);
    if (isVisible) segments.push({ kind: 'frame', index, repeats });
    else if (last?.kind === 'folded') last.indexes.push(index);
    else segments.push({ kind: 'folded', indexes: [index] });
    repeats = 0;
  });
  return segments;
}

/** Recursion: the same place again, whatever its variables. */
function isRepeated(frame: Frame, next: Frame): boolean {
  return (
    frame.lineNo === next.lineNo &&
    frame.instructionAddr === next.instructionAddr &&
    frame.package === next.package &&
    frame.module === next.module &&
    frame.function === next.function &&
    frame.filename === next.filename
  );
}

/** The frame that is open at first: the innermost of the application, else the innermost. */
export function initiallyOpenFrame(frames: Frame[]): number {
  const innermostInApp = frames.findLastIndex((frame) => frame.inApp);
  return innermostInApp >= 0 ? innermostInApp : frames.length - 1;
}
