import {
  asArray,
  asBoolean,
  asObject,
  asText,
  isObject,
  member,
  type JsonObject,
  type JsonValue,
} from '../json/value';
import type {
  Breadcrumb,
  EventModel,
  EventSection,
  ExceptionValue,
  Mechanism,
  Thread,
} from './event';
import { readSpans } from './spans';
import { readStacktrace, stacktraceMeta } from './stacktrace';

const CONTEXT_TITLES = new Map([
  ['os', 'OS'],
  ['gpu', 'GPU'],
]);
const COMMIT = /(?:^|[@+])([0-9a-f]{40})$/;

/** Read an event's payload. Nothing in it is trusted: a member of the wrong type counts as absent. */
export function readEvent(raw: JsonValue): EventModel {
  const event = asObject(raw);
  const meta = event._meta;
  return {
    eventId: asText(event.event_id),
    type: asText(event.type),
    level: asText(event.level),
    message: readMessage(event),
    timestamp: event.timestamp,
    platform: asText(event.platform),
    deviceArch: asText(member(member(event.contexts, 'device'), 'arch')),
    sdkName: asText(member(event.sdk, 'name')),
    commit: readCommit(event),
    facts: readFacts(event),
    exceptions: readExceptions(event, meta),
    stacktrace: readStacktrace(event.stacktrace, member(meta, 'stacktrace')),
    threads: valuesOf(event.threads)
      .filter(isObject)
      .map((thread, index) => readThread(thread, valueMeta(meta, 'threads', index))),
    breadcrumbs: readBreadcrumbs(event, meta),
    spans: readSpans(event),
    tags: readTags(event.tags),
    sections: readSections(event, meta),
    raw,
  };
}

/** Interfaces come as `{"values": [...]}` or, in their old form, as the list or the value itself. */
function valuesOf(value: JsonValue | undefined): JsonValue[] {
  if (Array.isArray(value)) return value;
  if (!isObject(value)) return [];
  return Array.isArray(value.values) ? value.values : [value];
}

function valueMeta(
  meta: JsonValue | undefined,
  name: string,
  index: number,
): JsonValue | undefined {
  const own = member(meta, name);
  return member(member(own, 'values') ?? own, String(index));
}

function readMessage(event: JsonObject): string | null {
  const entry = event.logentry ?? event.message;
  if (!isObject(entry)) return asText(entry);
  return asText(entry.formatted) ?? asText(entry.message);
}

function readCommit(event: JsonObject): string | null {
  const tagged = readTags(event.tags).find(([key]) => key === 'commit' || key === 'commit_sha');
  const lastCommit = asText(member(member(event.release, 'lastCommit'), 'id'));
  const inRelease = COMMIT.exec(asText(event.release) ?? '')?.[1];
  return lastCommit ?? inRelease ?? asText(tagged?.[1]);
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

function readExceptions(event: JsonObject, meta: JsonValue | undefined): ExceptionValue[] {
  return valuesOf(event.exception).flatMap((value, index) => {
    if (!isObject(value)) return [];
    const ownMeta = valueMeta(meta, 'exception', index);
    return [
      {
        type: asText(value.type),
        value: asText(value.value),
        module: asText(value.module),
        mechanism: readMechanism(value.mechanism),
        threadId: asText(value.thread_id),
        stacktrace: readStacktrace(value.stacktrace, stacktraceMeta(ownMeta)),
        meta: ownMeta,
      },
    ];
  });
}

function readMechanism(value: JsonValue | undefined): Mechanism | null {
  if (!isObject(value)) return null;
  return {
    type: asText(value.type),
    handled: asBoolean(value.handled),
    data: { ...asObject(value.data), ...asObject(value.meta) },
  };
}

function readThread(thread: JsonObject, meta: JsonValue | undefined): Thread {
  return {
    id: asText(thread.id),
    name: asText(thread.name),
    crashed: asBoolean(thread.crashed) ?? false,
    current: asBoolean(thread.current) ?? false,
    stacktrace: readStacktrace(thread.stacktrace, stacktraceMeta(meta)),
  };
}

function readBreadcrumbs(event: JsonObject, meta: JsonValue | undefined): Breadcrumb[] {
  return valuesOf(event.breadcrumbs).flatMap((value, index) => {
    if (!isObject(value)) return [];
    return [
      {
        timestamp: value.timestamp,
        type: asText(value.type),
        category: asText(value.category),
        level: asText(value.level),
        message: asText(value.message),
        data: asObject(value.data),
        meta: valueMeta(meta, 'breadcrumbs', index),
      },
    ];
  });
}

/** Tags are an object, or a list of pairs, or a list of `{key, value}`. */
function readTags(value: JsonValue | undefined): [string, JsonValue][] {
  if (isObject(value)) return Object.entries(value);
  return asArray(value).flatMap((tag): [string, JsonValue][] => {
    const [key, content] = isObject(tag) ? [tag.key, tag.value] : asArray(tag);
    const name = asText(key);
    return name === null ? [] : [[name, content ?? null]];
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
