import { expect, test } from 'vitest';

import { highlightLines } from './highlight';
import { languageOf } from './languages';

const text = (lines: ReturnType<typeof highlightLines>) =>
  lines.map((line) => line.map((token) => token.text).join(''));

test('tokens of each line join to that line', () => {
  const lines = ['def f(x):', '    """Doc', '    string."""', '', "    return 'a' + x"];
  const highlighted = highlightLines(lines, 'python', null);
  expect(text(highlighted)).toEqual(lines);
  expect(highlighted[1]?.at(-1)?.className).toBe('hljs-string');
  expect(highlighted[2]?.[0]?.className).toBe('hljs-string');
});

test('an excerpt that begins inside a docstring does not turn the code into text', () => {
  const lines = ['the rest of the docstring.', '"""', 'return None', ''];
  const [docstring, , active] = highlightLines(lines, 'python', 2);
  expect(docstring?.[0]?.className).toBe('hljs-string');
  expect(active?.map((token) => token.className)).toContain('hljs-keyword');
});

test('a line too long to highlight is shown plain', () => {
  const long = `x = ${'('.repeat(5_000)}`;
  expect(highlightLines([long], 'python', 0)).toEqual([[{ text: long, className: null }]]);
});

test.each([
  ['app/views.py', 'python'],
  ['webpack:///./src/App.tsx?4f2a', 'typescript'],
  ['C:\\src\\Program.CS', 'csharp'],
  ['tile.cpp', 'cpp'],
  ['Main.kt', 'kotlin'],
  ['Makefile', null],
  ['notes.constructor', null],
  [null, null],
])('the language of %s is %s', (filename, language) => {
  expect(languageOf(filename)).toBe(language);
});
