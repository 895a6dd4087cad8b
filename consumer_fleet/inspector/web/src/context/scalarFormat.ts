import { isNumeric, type JsonObject, type JsonValue } from '../json.ts';

export type ScalarKind = 'null' | 'boolean' | 'number' | 'string' | 'plain' | 'filtered';

export type Scalar = Exclude<JsonValue, JsonValue[] | JsonObject>;

export interface FormattedScalar {
  text: string;
  kind: ScalarKind;
}

/** The notation of a language for the scalars of its SDK. */
interface ScalarFormat {
  nullText: string;
  trueText: string;
  falseText: string;
  /** The SDK's placeholders for values that JSON can't express. */
  standIns: Record<string, FormattedScalar>;
  /** The SDK sends `repr()`s: strings include quotes, numbers may be text. */
  areTextsLiterals: boolean;
  /** Put quotes around texts, as JSON does. */
  isQuoting?: boolean;
}

const PLAIN: ScalarFormat = {
  nullText: 'null',
  trueText: 'true',
  falseText: 'false',
  standIns: {},
  areTextsLiterals: false,
};

const JSON_FORMAT: ScalarFormat = { ...PLAIN, isQuoting: true };

const PYTHON: ScalarFormat = {
  nullText: 'None',
  trueText: 'True',
  falseText: 'False',
  standIns: {
    None: { text: 'None', kind: 'null' },
    True: { text: 'True', kind: 'boolean' },
    False: { text: 'False', kind: 'boolean' },
  },
  areTextsLiterals: true,
};

const BOOLEAN_TEXTS: Record<string, FormattedScalar> = {
  true: { text: 'true', kind: 'boolean' },
  false: { text: 'false', kind: 'boolean' },
};

const JAVASCRIPT: ScalarFormat = {
  ...PLAIN,
  standIns: {
    '<null>': { text: 'null', kind: 'null' },
    '<undefined>': { text: 'undefined', kind: 'null' },
    '[undefined]': { text: 'undefined', kind: 'null' },
    '[NaN]': { text: 'NaN', kind: 'number' },
  },
};

const RUBY: ScalarFormat = {
  ...PLAIN,
  nullText: 'nil',
  standIns: { ...BOOLEAN_TEXTS, nil: { text: 'nil', kind: 'null' } },
};

const PHP: ScalarFormat = {
  ...PLAIN,
  standIns: { ...BOOLEAN_TEXTS, null: { text: 'null', kind: 'null' } },
};

const FORMATS = new Map<string, ScalarFormat>([
  ['json', JSON_FORMAT],
  ['python', PYTHON],
  ['node', JAVASCRIPT],
  ['javascript', JAVASCRIPT],
  ['ruby', RUBY],
  ['php', PHP],
]);

const FILTERED = /^(\[Filtered\]|\*{8,}|<redacted>)$/i;
const LITERAL_STRING = /^(?:[bru]{0,2})(['"])[^]*\1$/i;
const LITERAL_NUMBER = /^-?\d+(\.\d+)?$/;

/** Format a scalar in the notation of `platform`, which may be `json`. */
export function formatScalar(value: Scalar, platform: string | null | undefined): FormattedScalar {
  const format = FORMATS.get(platform ?? '') ?? PLAIN;
  if (value === null) return { text: format.nullText, kind: 'null' };
  if (typeof value === 'boolean') {
    return { text: value ? format.trueText : format.falseText, kind: 'boolean' };
  }
  if (isNumeric(value)) return { text: String(value), kind: 'number' };
  return formatText(value, format);
}

function formatText(text: string, format: ScalarFormat): FormattedScalar {
  const standIn = Object.hasOwn(format.standIns, text) ? format.standIns[text] : undefined;
  if (standIn !== undefined) return standIn;
  if (format.isQuoting) return { text: JSON.stringify(text), kind: 'string' };
  if (FILTERED.test(text)) return { text, kind: 'filtered' };
  if (!format.areTextsLiterals) return { text, kind: 'plain' };
  if (LITERAL_STRING.test(text)) return { text, kind: 'string' };
  return { text, kind: LITERAL_NUMBER.test(text) ? 'number' : 'plain' };
}
