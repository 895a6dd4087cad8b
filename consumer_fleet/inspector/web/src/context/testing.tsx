import { render } from '@testing-library/react';

import type { Frame, FrameEvent } from '../model/event';
import { Context, type ContextProps } from './Context';

export const EVENT: FrameEvent = {
  platform: 'python',
  deviceArch: null,
  sdkName: 'sentry.python',
  commit: 'a'.repeat(40),
};

export function frame(change: Partial<Frame> = {}): Frame {
  return {
    absPath: null,
    colNo: null,
    context: [],
    filename: 'app/orders.py',
    function: 'pay',
    inApp: true,
    instructionAddr: null,
    lineNo: null,
    module: null,
    package: null,
    platform: null,
    vars: null,
    meta: undefined,
    ...change,
  };
}

export const SOURCE_FRAME = frame({
  lineNo: 11,
  context: [
    [10, 'first = 1\n'],
    [11, 'second = first + 1\n'],
    [12, 'third = None\r\n'],
  ],
});

export function contextElement(props: Partial<ContextProps>) {
  return <Context event={EVENT} frame={frame()} registers={{}} {...props} />;
}

export function renderContext(props: Partial<ContextProps>) {
  return render(contextElement(props));
}
