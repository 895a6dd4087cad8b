import type { Frame } from '../../model/event';

export type Segment =
  { kind: 'frame'; index: number; repeats: number } | { kind: 'folded'; indexes: number[] };

/** The initially visible frames, oldest first, as in Sentry.
 *
 * Visible are application frames, the library frame that called each run of them, and the last
 * frame. Without application frames, all are visible.
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

/** Recursion: the same location again, whatever its variables. */
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

/** The initially open frame: the innermost application frame, else the innermost frame. */
export function initiallyOpenFrame(frames: Frame[]): number {
  const innermostInApp = frames.findLastIndex((frame) => frame.inApp);
  return innermostInApp >= 0 ? innermostInApp : frames.length - 1;
}
