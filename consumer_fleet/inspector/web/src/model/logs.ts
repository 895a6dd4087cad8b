import {
  asArray,
  asObject,
  asText,
  isObject,
  type JsonObject,
  type JsonValue,
  member,
} from '../json.ts';

export interface Log {
  timestamp: JsonValue | undefined;
  level: string | null;
  message: string;
  /** Values without the types that the protocol wraps around them. */
  attributes: JsonObject;
}

const TEMPLATE = 'sentry.message.template';
const PARAMETER = 'sentry.message.parameter.';
const PLACEHOLDER = /%[sdifoOj]|\{([\w.]*)\}/g;

/** Read the payload of a `log` item; null if it is not a list of logs. */
export function readLogs(payload: JsonValue): Log[] | null {
  const items = member(payload, 'items');
  if (!Array.isArray(items)) return null;
  return asArray(items).flatMap((item) => (isObject(item) ? [readLog(item)] : []));
}

/** The attributes of a log or metric, and its place in a trace. */
export function readAttributes(item: JsonObject): JsonObject {
  const attributes = Object.fromEntries(
    Object.entries(asObject(item.attributes)).map(([name, attribute]) => [
      name,
      member(attribute, 'value') ?? attribute,
    ]),
  );
  for (const name of ['trace_id', 'span_id']) {
    const value = item[name];
    if (value !== undefined) attributes[name] = value;
  }
  return attributes;
}

function readLog(item: JsonObject): Log {
  const attributes = readAttributes(item);
  return {
    timestamp: item.timestamp,
    level: item.level === 'warn' ? 'warning' : asText(item.level),
    message: asText(item.body) ?? filledTemplate(attributes),
    attributes,
  };
}

/** For SDKs that leave filling the template to the reader. */
function filledTemplate(attributes: JsonObject): string {
  let next = 0;
  return (asText(attributes[TEMPLATE]) ?? '').replace(PLACEHOLDER, (placeholder, name?: string) => {
    const key = name === undefined || name === '' ? String(next) : name;
    if (key === String(next)) next += 1;
    return asText(member(attributes, PARAMETER + key)) ?? placeholder;
  });
}
