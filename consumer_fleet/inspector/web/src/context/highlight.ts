import type { ElementContent, RootContent } from 'hast';
import { createLowlight } from 'lowlight';

import { GRAMMARS, type Language } from './languages.ts';

export interface Token {
  text: string;
  className: string | null;
}

export type TokenLine = Token[];

// Longer code is not highlighted: hostile lines could keep the grammar's expressions busy.
const MAX_CODE_LENGTH = 60_000;
const MAX_LINE_LENGTH = 2_000;

// How a multi-line string or comment begins, by language.
const BLOCK_OPENERS: Partial<Record<Language, string[]>> = {
  python: ['"""', "'''"],
  javascript: ['`', '/*'],
  typescript: ['`', '/*'],
  go: ['`', '/*'],
  ruby: ['=begin'],
};
const DEFAULT_BLOCK_OPENERS = ['/*'];

const lowlight = createLowlight(GRAMMARS);

/** Split lines of code into tokens; the texts of each line's tokens join to that line.
 *
 * `activeLine` is the index of the line that ran. That line can't be inside a comment, which shows
 * whether the excerpt begins in the middle of one.
 */
export function highlightLines(
  lines: string[],
  language: Language | null,
  activeLine: number | null,
): TokenLine[] {
  if (language === null || !isCheap(lines)) return lines.map(plainLine);
  const tokens = tokenise(lines, language);
  if (activeLine === null || !isSwallowed(tokens, activeLine)) return tokens;
  for (const opener of BLOCK_OPENERS[language] ?? DEFAULT_BLOCK_OPENERS) {
    const [, ...corrected] = tokenise([opener, ...lines], language);
    if (!isSwallowed(corrected, activeLine)) return corrected;
  }
  return tokens;
}

function isCheap(lines: string[]): boolean {
  let length = 0;
  return lines.every((line) => {
    length += line.length;
    return line.length <= MAX_LINE_LENGTH && length <= MAX_CODE_LENGTH;
  });
}

function plainLine(text: string): TokenLine {
  return text === '' ? [] : [{ text, className: null }];
}

function tokenise(lines: string[], language: Language): TokenLine[] {
  const tree = lowlight.highlight(language, lines.join('\n'));
  const result: TokenLine[] = [[]];
  for (const token of flatten(tree.children, null)) {
    const [first = '', ...rest] = token.text.split('\n');
    if (first !== '') result.at(-1)?.push({ ...token, text: first });
    for (const text of rest) result.push(text === '' ? [] : [{ ...token, text }]);
  }
  return result;
}

function flatten(nodes: (RootContent | ElementContent)[], className: string | null): TokenLine {
  return nodes.flatMap((node): TokenLine => {
    if (node.type === 'text') return [{ text: node.value, className }];
    if (node.type !== 'element') return [];
    const classes = node.properties.className;
    const own = Array.isArray(classes) ? String(classes[0]) : null;
    return flatten(node.children, own ?? className);
  });
}

/** Whether a line lies entirely inside a string or comment of an earlier line. */
function isSwallowed(lines: TokenLine[], index: number): boolean {
  const isInert = (token: Token | undefined) =>
    token?.className === 'hljs-string' || token?.className === 'hljs-comment';
  const line = lines[index] ?? [];
  const before = lines.slice(0, index).findLast((tokens) => tokens.length > 0);
  return line.length > 0 && line.every(isInert) && isInert(before?.at(-1));
}
