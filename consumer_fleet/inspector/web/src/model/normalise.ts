import {
  asArray,
  asBoolean,
  asObject,
  asText,
  isNumeric,
  isObject,
  type JsonObject,
  type JsonValue,
  member,
} from '../json.ts';
import type {
  Breadcrumb,
  EventModel,
  EventSection,
  ExceptionValue,
  Feedback,
  Mechanism,
  Tag,
  Thread,
} from './event.ts';
import { readStacktrace } from './stacktrace.ts';

const CONTEXT_TITLES = new Map([
  ['os', 'OS'],
  ['gpu', 'GPU'],
]);
const COMMIT = /(?:^|[@+])([0-9a-f]{40})$/;

/** Read an event's payload. It is untrusted: members of the wrong type count as absent. */
export function readEvent(raw: JsonValue): EventModel {
  const event = asObject(raw);
  const meta = event._meta;
  return {
    eventId: asText(event.event_id),
    type: asText(event.type),
    level: asText(event.level),
    ...readMessage(event, meta),
    timestamp: event.timestamp,
    platform: asText(event.platform),
    deviceArch: asText(member(member(event.contexts, 'device'), 'arch')),
    sdkName: asText(member(event.sdk, 'name')),
    commit: readCommit(event),
    facts: readFacts(event),
    feedback: readFeedback(event),
    exceptions: valuesOf(event, 'exception').map(readException),
    stacktrace: readStacktrace(event.stacktrace, member(meta, 'stacktrace')),
    threads: valuesOf(event, 'threads').map(readThread),
    breadcrumbs: valuesOf(event, 'breadcrumbs').map(readBreadcrumb),
    tags: readTags(event),
    sections: readSections(event, meta),
    raw,
  };
}

interface Described {
  value: JsonObject;
  /** Its `_meta`, whose indexes include values of a wrong type. */
  meta: JsonValue | undefined;
}

/** Interfaces are `{"values": [...]}` or, in the old form, the list or the value itself. */
function valuesOf(event: JsonObject, name: string): Described[] {
  const value = event[name];
  const meta = member(event._meta, name);
  if (isObject(value) && !Array.isArray(value.values)) return [{ value, meta }];
  const metas = member(meta, 'values') ?? meta;
  return asArray(isObject(value) ? value.values : value).flatMap((one, index) =>
    isObject(one) ? [{ value: one, meta: member(metas, String(index)) }] : [],
  );
}

function readMessage(event: JsonObject, meta: JsonValue | undefined) {
  const name = (event.logentry ?? null) === null ? 'message' : 'logentry';
  const entry = event[name];
  const entryMeta = member(meta, name);
  if (!isObject(entry)) return { message: asText(entry), messageMeta: entryMeta };
  const part = asText(entry.formatted) === null ? 'message' : 'formatted';
  return { message: asText(entry[part]), messageMeta: member(entryMeta, part) };
}

function readFeedback(event: JsonObject): Feedback | null {
  const feedback = member(event.contexts, 'feedback');
  const message = asText(member(feedback, 'message'));
  if (message === null) return null;
  const from = ['name', 'contact_email', 'email'].map((name) => asText(member(feedback, name)));
  return {
    message,
    from: [...new Set(from.filter((part) => part !== null))].join(', '),
    eventId: asText(member(feedback, 'associated_event_id')),
  };
}

function readCommit(event: JsonObject): string | null {
  const tagged = readTags(event).find(({ key }) => key === 'commit' || key === 'commit_sha');
  const lastCommit = asText(member(member(event.release, 'lastCommit'), 'id'));
  const inRelease = COMMIT.exec(asText(event.release) ?? '')?.[1];
  return lastCommit ?? inRelease ?? asText(tagged?.value);
}

function readFacts(event: JsonObject): [string, string][] {
  const sdk = [member(event.sdk, 'name'), member(event.sdk, 'version')].map(asText);
  const facts: [string, string | null][] = [
    ['Platform', asText(event.platform)],
    ['Environment', asText(event.environment)],
    ['Release', asText(event.release)],
    ['Dist', asText(event.dist)],
    ['Transaction', asText(event.transaction)],
    ['Logger', asText(event.logger)],
    ['Server', asText(event.server_name)],
    ['SDK', sdk.filter((part) => part !== null).join(' ') || null],
  ];
  return facts.flatMap(([name, value]) => (value === null || value === '' ? [] : [[name, value]]));
}

function readException({ value, meta }: Described): ExceptionValue {
  return {
    type: asText(value.type),
    value: asText(value.value),
    module: asText(value.module),
    mechanism: readMechanism(value.mechanism, member(meta, 'mechanism')),
    threadId: asText(value.thread_id),
    stacktrace: readStacktrace(value.stacktrace, member(meta, 'stacktrace')),
    meta,
  };
}

function readMechanism(
  value: JsonValue | undefined,
  meta: JsonValue | undefined,
): Mechanism | null {
  if (!isObject(value)) return null;
  return {
    type: asText(value.type),
    handled: asBoolean(value.handled),
    exceptionId: readId(value.exception_id),
    parentId: readId(value.parent_id),
    isGroup: asBoolean(value.is_exception_group) ?? false,
    source: typeof value.source === 'string' && value.source !== '' ? value.source : null,
    data: { ...asObject(value.data), ...asObject(value.meta) },
    dataMeta: { ...asObject(member(meta, 'data')), ...asObject(member(meta, 'meta')) },
  };
}

function readId(value: JsonValue | undefined): string | null {
  return isNumeric(value) ? asText(value) : null;
}

function readThread({ value, meta }: Described): Thread {
  return {
    id: asText(value.id),
    name: asText(value.name),
    crashed: asBoolean(value.crashed) ?? false,
    current: asBoolean(value.current) ?? false,
    stacktrace: readStacktrace(value.stacktrace, member(meta, 'stacktrace')),
  };
}

function readBreadcrumb({ value, meta }: Described): Breadcrumb {
  return {
    timestamp: value.timestamp,
    type: asText(value.type),
    category: asText(value.category),
    level: asText(value.level),
    message: asText(value.message),
    data: asObject(value.data),
    meta,
  };
}

/** Tags are an object, or a list of pairs, or a list of `{key, value}`. */
function readTags(event: JsonObject): Tag[] {
  const { tags } = event;
  const metas = member(event._meta, 'tags');
  if (isObject(tags)) {
    return Object.entries(tags).map(([key, value]) => ({ key, value, meta: member(metas, key) }));
  }
  return asArray(tags).flatMap((tag, index): Tag[] => {
    const [name, value] = isObject(tag) ? [tag.key, tag.value] : asArray(tag);
    const key = asText(name);
    if (key === null) return [];
    const meta = member(member(metas, String(index)), isObject(tag) ? 'value' : '1');
    return [{ key, value: value ?? null, meta }];
  });
}

function readSections(event: JsonObject, meta: JsonValue | undefined): EventSection[] {
  const section = (name: string, title: string): EventSection[] => {
    const value = asObject(event[name]);
    return Object.keys(value).length === 0
      ? []
      : [{ name, title, value, meta: member(meta, name) }];
  };
  const contexts = Object.entries(asObject(event.contexts)).flatMap(([name, value]) => {
    if (!isObject(value) || Object.keys(value).length === 0) return [];
    return [
      {
        name: `contexts.${name}`,
        title: CONTEXT_TITLES.get(name) ?? name,
        value,
        meta: member(member(meta, 'contexts'), name),
      },
    ];
  });
  return [
    ...section('user', 'User'),
    ...section('request', 'Request'),
    ...contexts,
    ...section('extra', 'Extra'),
    ...section('modules', 'Packages'),
    ...section('measurements', 'Measurements'),
  ];
}
