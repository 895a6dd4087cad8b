/** 0: as it should be; 1: a person may want to know; 2: messages don't move. */
export type Severity = 0 | 1 | 2;

/** The message that keeps a partition's commit where it is. */
export interface HeldBack {
  offset: number;
  destination: string | null;
  answer: string;
  since_s: number | null;
}

export interface Partition {
  index: number;
  committed: number | null;
  end: number | null;
  lag: number | null;
  held: number;
  oldest_s: number | null;
  time_to_loss_s: number | null;
  owner: string | null;
  held_back: HeldBack | null;
}

export interface Destination {
  name: string;
  state: string;
  severity: Severity;
  cause: string | null;
}

export interface Consumer {
  name: string;
  topic: string;
  group: string;
  state: string;
  severity: Severity;
  causes: string[];
  destinations: Destination[];
  partitions: Partition[];
}

export interface Worker {
  number: number;
  pid: number | null;
  state: string;
  severity: Severity;
  cause: string | null;
  messages: number;
}

export interface FleetView {
  at_s: number;
  consumers: Consumer[];
  workers: Worker[];
  /** Why nothing newer is known. */
  problem: string | null;
}

/** The figures of each row in one bucket of time, in the order of `Facts.series`. */
export interface Sample {
  bucket: number;
  rows: Record<string, (number | null)[]>;
}

export interface Facts {
  series: string[];
  bucket_s: number;
  has_events: boolean;
}

/** Of the server's events: `history` comes first, and again after a reconnection. */
export type History = Facts & { samples: Sample[] };

export interface Update {
  view: FleetView;
  sample: Sample;
}

/** A consumer and one of its destinations, if they are known. */
export interface FleetRow {
  /** As in the samples. */
  key: string;
  consumer: Consumer;
  destination: Destination | null;
  state: string;
  severity: Severity;
  causes: string[];
}
