import type { JsonValue } from '../json';

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
  dsn: string | null;
  store: StoreId;
}

export interface Filters {
  q: string;
  type: string;
  level: string;
  isDeadOnly: boolean;
}

export const NO_FILTERS: Filters = { q: '', type: '', level: '', isDeadOnly: false };
