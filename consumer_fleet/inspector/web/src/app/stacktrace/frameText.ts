import type { Frame, Stacktrace } from '../../model/event';

/** A frame's location: its file or module, line and column. */
export function frameLocation(frame: Frame): string {
  const file = frame.filename ?? frame.module ?? frame.absPath ?? '';
  const position = [frame.lineNo, frame.colNo].filter((part) => part !== null).join(':');
  return [file, position].filter((part) => part !== '').join(':');
}

/** The library of a native frame, without its directory. */
export function libraryName(frame: Frame): string | null {
  if (frame.package === null || frame.package.includes(', Version=')) return null;
  return frame.package.split(/[\\/]/).at(-1) ?? null;
}

/** A stack trace as plain text, innermost frame last. */
export function stacktraceText(stacktrace: Stacktrace, heading: string): string {
  const lines = stacktrace.frames.flatMap((frame) => {
    const line = `  at ${frame.function ?? frame.instructionAddr ?? '<unknown>'} (${frameLocation(frame)})`;
    const source = frame.context.find(([lineNo]) => lineNo === frame.lineNo)?.[1].trim();
    return source === undefined || source === '' ? [line] : [line, `    ${source}`];
  });
  return [heading, ...lines].join('\n');
}
