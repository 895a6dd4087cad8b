import dotnet from '../fixtures/dotnet.json?raw';
import javascript from '../fixtures/javascript.json?raw';
import native from '../fixtures/native.json?raw';
import python from '../fixtures/python.json?raw';
import { hostileEvent } from '../fixtures/hostile';
import { type JsonValue, parseJson } from '../json';
import type { EventModel, Frame, Stacktrace } from '../model/event';
import { readEvent } from '../model/normalise';

export interface StoryFrame {
  event: EventModel;
  frame: Frame;
  stacktrace: Stacktrace;
}

function innermost(raw: JsonValue, exception: number, index: number): StoryFrame {
  const event = readEvent(raw);
  const stacktrace = event.exceptions[exception]?.stacktrace;
  const frame = stacktrace?.frames[index];
  if (!stacktrace || frame === undefined) throw new Error('the fixture lacks this frame');
  return { event, frame, stacktrace };
}

export const pythonFrame = innermost(parseJson(python), 0, 0);
export const redactedFrame = innermost(parseJson(python), 1, 5);
export const javascriptFrame = innermost(parseJson(javascript), 0, 2);
export const nativeFrame = innermost(parseJson(native), 0, 2);
export const dotnetFrame = innermost(parseJson(dotnet), 0, 0);
export const hostileFrame = innermost(hostileEvent, 0, 0);

/** The same variables as sent by another platform's SDK. */
export function onPlatform(platform: string): StoryFrame {
  const vars = {
    nothing: null,
    flag: true,
    text: platform === 'python' ? "'text'" : 'text',
    standIn: { python: 'None', ruby: 'nil', php: 'null' }[platform] ?? '<undefined>',
    count: 9223372036854775807n,
  };
  return { ...pythonFrame, frame: { ...pythonFrame.frame, platform, vars } };
}
