import {
  asArray,
  asObject,
  asText,
  isObject,
  type JsonObject,
  type JsonValue,
  member,
} from '../json.ts';
import { readAttributes } from './logs.ts';

export interface Metric {
  timestamp: JsonValue | undefined;
  name: string;
  kind: string;
  value: string;
  unit: string;
  attributes: JsonObject;
}

/** Read the payload of a `trace_metric` item; null if it is not a list of metrics. */
export function readMetrics(payload: JsonValue): Metric[] | null {
  const items = member(payload, 'items');
  if (!Array.isArray(items)) return null;
  return asArray(items).flatMap((item): Metric[] => {
    if (!isObject(item)) return [];
    return [
      {
        timestamp: item.timestamp,
        name: asText(item.name) ?? '',
        kind: asText(item.type) ?? '',
        // SDKs send 3 as 3.0.
        value: (asText(item.value) ?? '').replace(/\.0$/, ''),
        unit: asText(item.unit) ?? '',
        attributes: readAttributes(item),
      },
    ];
  });
}

/** Names and values that a reader wants first, and a table if the item is about counts. */
export interface ItemFacts {
  facts: [name: string, value: string][];
  table: { columns: string[]; rows: string[][] } | null;
}

type Path = string;

// The facts of each type: a name, and the path to its value.
const FACTS: Record<string, [name: string, path: Path, unit?: string][]> = {
  check_in: [
    ['Monitor', 'monitor_slug'],
    ['Status', 'status'],
    ['Duration', 'duration', 's'],
    ['Environment', 'environment'],
    ['Schedule', 'monitor_config.schedule.value'],
    ['Check-in id', 'check_in_id'],
  ],
  session: [
    ['Status', 'status'],
    ['Errors', 'errors'],
    ['Duration', 'duration', 's'],
    ['Started', 'started'],
    ['Release', 'attrs.release'],
    ['Environment', 'attrs.environment'],
    ['User', 'did'],
    ['Session id', 'sid'],
  ],
  sessions: [
    ['Release', 'attrs.release'],
    ['Environment', 'attrs.environment'],
  ],
  user_report: [
    ['Name', 'name'],
    ['Email', 'email'],
    ['Comments', 'comments'],
  ],
  client_report: [['Time', 'timestamp']],
};

const TABLES: Record<string, { list: string; columns: [name: string, member: string][] }> = {
  sessions: {
    list: 'aggregates',
    columns: [
      ['Started', 'started'],
      ['Exited', 'exited'],
      ['Errored', 'errored'],
      ['Abnormal', 'abnormal'],
      ['Crashed', 'crashed'],
    ],
  },
  client_report: {
    list: 'discarded_events',
    columns: [
      ['Discarded', 'category'],
      ['Reason', 'reason'],
      ['Quantity', 'quantity'],
    ],
  },
};

export function readItemFacts(type: string, payload: JsonValue): ItemFacts {
  const facts = (FACTS[type] ?? []).flatMap(([name, path, unit]): [string, string][] => {
    const value = asText(path.split('.').reduce<JsonValue | undefined>(member, payload));
    return value === null || value === ''
      ? []
      : [[name, unit === undefined ? value : `${value} ${unit}`]];
  });
  const table = TABLES[type];
  if (table === undefined) return { facts, table: null };
  const rows = asArray(asObject(payload)[table.list]).flatMap((row) =>
    isObject(row) ? [table.columns.map(([, name]) => asText(row[name]) ?? '')] : [],
  );
  return { facts, table: { columns: table.columns.map(([name]) => name), rows } };
}
