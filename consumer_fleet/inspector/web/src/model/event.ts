import type { JsonObject, JsonValue } from '../json.ts';

/** `[line number, text]`; the text may end in a newline. */
export type SourceLine = [lineNo: number, text: string];

export type RegisterMap = Record<string, JsonValue>;

/** A stack frame, with the names of Sentry's interface. */
export interface Frame {
  absPath: string | null;
  colNo: number | null;
  context: SourceLine[];
  filename: string | null;
  function: string | null;
  inApp: boolean;
  instructionAddr: string | null;
  lineNo: number | null;
  module: string | null;
  package: string | null;
  platform: string | null;
  vars: JsonObject | null;
  /** The part of the event's `_meta` that describes this frame. */
  meta: JsonValue | undefined;
}

export interface Stacktrace {
  frames: Frame[];
  framesOmitted: [first: number, last: number] | null;
  registers: RegisterMap;
  /** The part of the event's `_meta` that describes this stack trace. */
  meta: JsonValue | undefined;
}

export interface Mechanism {
  type: string | null;
  handled: boolean | null;
  /** Ids are unique in the event. They link exceptions: see `exceptionTree`. */
  exceptionId: string | null;
  parentId: string | null;
  isGroup: boolean;
  /** The member of the parent that refers to the exception: `__cause__`, `errors[0]`. */
  source: string | null;
  data: JsonObject;
  dataMeta: JsonValue | undefined;
}

export interface ExceptionValue {
  type: string | null;
  value: string | null;
  module: string | null;
  mechanism: Mechanism | null;
  threadId: string | null;
  stacktrace: Stacktrace | null;
  meta: JsonValue | undefined;
}

export interface Thread {
  id: string | null;
  name: string | null;
  crashed: boolean;
  current: boolean;
  stacktrace: Stacktrace | null;
}

export interface Breadcrumb {
  timestamp: JsonValue | undefined;
  type: string | null;
  category: string | null;
  level: string | null;
  message: string | null;
  data: JsonObject;
  meta: JsonValue | undefined;
}

export interface Tag {
  key: string;
  value: JsonValue;
  meta: JsonValue | undefined;
}

/** The facts of an event that the Context component needs. */
export interface FrameEvent {
  platform: string | null;
  /** The CPU's architecture (`contexts.device.arch`), which orders registers. */
  deviceArch: string | null;
  sdkName: string | null;
  /** The commit of the event's release, if known. */
  commit: string | null;
}

export interface Feedback {
  message: string;
  /** Name and address of the user, if known. */
  from: string;
  /** The event that it is about. */
  eventId: string | null;
}

export interface EventModel extends FrameEvent {
  eventId: string | null;
  type: string | null;
  level: string | null;
  message: string | null;
  messageMeta: JsonValue | undefined;
  timestamp: JsonValue | undefined;
  facts: [name: string, value: string][];
  feedback: Feedback | null;
  exceptions: ExceptionValue[];
  /** The event's own stack trace, as from `capture_message`. */
  stacktrace: Stacktrace | null;
  threads: Thread[];
  breadcrumbs: Breadcrumb[];
  tags: Tag[];
  /** Members shown unchanged: contexts, request, user, extra, modules … */
  sections: EventSection[];
  raw: JsonValue;
}

export interface EventSection {
  name: string;
  title: string;
  value: JsonObject;
  meta: JsonValue | undefined;
}
