import type { JsonValue } from '../json';
import type { TraceMark, TraceSpan } from '../model/trace';

/** An envelope's position in Kafka. */
export interface Origin {
  topic: string;
  partition: number;
  offset: number;
  timestamp_ms: number | null;
}

export interface Answer {
  destination: string;
  status: number | null;
  detail?: string | null;
  at?: number | null;
}

export interface DeadLetter {
  reason: string;
  detail: string | null;
  group: string | null;
  topic: string | null;
  partition: number | null;
  offset: number | null;
}

/** A stored entry in the list. `id` grows with every entry. */
export interface Summary {
  id: number;
  event_id: string | null;
  received_at: number;
  project: string;
  type: string;
  level: string | null;
  title: string;
  culprit: string;
  platform: string | null;
  item_types: string[];
  size_bytes: number;
  origin: Origin | null;
  answers: Answer[];
  dead_letter: DeadLetter | null;
  /** The same for all events of one cause; null for what is not an error. */
  issue: string | null;
}

/** Identifies a store: entry ids are valid in one store only. */
export type StoreId = string;

/** An entry of one store. */
export interface EntryRef {
  store: StoreId;
  id: number;
}

export interface EventPage {
  events: Summary[];
  total: number;
  next: number | null;
  /** In a grouped list, how many events each entry stands for, by its id. */
  repeats: Record<string, number>;
  store: StoreId;
}

export interface EnvelopeItem {
  index: number;
  type: string;
  size_bytes: number;
  header: JsonValue;
}

export interface Entry {
  ref: EntryRef;
  summary: Summary;
  header: JsonValue;
  items: EnvelopeItem[];
  /** Index of the item that is the event. */
  event: number | null;
  /** How many stored entries are of the same issue, this one included. */
  same_issue: number;
  /** The traces that the entry is part of. */
  traces: string[];
  undecodable: { error: string; hex_preview: string } | null;
}

export interface Status {
  version: string;
  source: {
    kind: 'receiver' | 'topic' | 'dlq' | 'recording' | 'demo';
    name: string;
    /** Why the source has failed, if it has. */
    problem: string | null;
  };
  counts: { accepted: number; kept: number; kept_bytes: number };
  coverage: boolean;
  /** Whether the server has a checkout with the source lines that frames lack. */
  source_root: boolean;
  /** A link with `{path}` and `{line}`; null if frames are not linked. */
  editor_link: string | null;
  /** Whether the server also shows the fleet view. */
  fleet: boolean;
  dsn: string | null;
  store: StoreId;
}

/** The lines around a frame's, of the server's checkout. */
export interface FoundSource {
  lines: [lineNo: number, text: string][];
  /** The event's commit if they are of it; null for the working tree. */
  commit: string | null;
}

/** The spans, errors and logs of one trace, in all stored entries. */
export interface Trace {
  store: StoreId;
  trace_id: string | null;
  /** The entries of the spans and marks, by their id. */
  entries: Record<string, { event_id: string | null; project: string }>;
  /** False if further entries of the trace are not in it. */
  is_complete: boolean;
  spans: TraceSpan[];
  marks: TraceMark[];
  total_spans: number;
  total_marks: number;
}

/** The filters of one value each; empty for all. Their names are the API's parameters. */
export const EXACT_FILTERS = [
  'type',
  'level',
  'project',
  'platform',
  'topic',
  'reason',
  'issue',
] as const;

export type ExactFilter = (typeof EXACT_FILTERS)[number];

export type Filters = Record<ExactFilter, string> & {
  q: string;
  isDeadOnly: boolean;
  /** Whether only the newest event of each issue is listed. */
  isGrouped: boolean;
};

/** The stored values of each filter, the most frequent ones first. */
export type Choices = Partial<Record<ExactFilter, string[]>>;

export const NO_FILTERS: Filters = {
  q: '',
  type: '',
  level: '',
  project: '',
  platform: '',
  topic: '',
  reason: '',
  issue: '',
  isDeadOnly: false,
  isGrouped: false,
};
