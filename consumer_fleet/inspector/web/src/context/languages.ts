import type { LanguageFn } from 'highlight.js';
import bash from 'highlight.js/lib/languages/bash';
import c from 'highlight.js/lib/languages/c';
import cpp from 'highlight.js/lib/languages/cpp';
import csharp from 'highlight.js/lib/languages/csharp';
import dart from 'highlight.js/lib/languages/dart';
import elixir from 'highlight.js/lib/languages/elixir';
import fsharp from 'highlight.js/lib/languages/fsharp';
import go from 'highlight.js/lib/languages/go';
import groovy from 'highlight.js/lib/languages/groovy';
import java from 'highlight.js/lib/languages/java';
import javascript from 'highlight.js/lib/languages/javascript';
import json from 'highlight.js/lib/languages/json';
import kotlin from 'highlight.js/lib/languages/kotlin';
import lua from 'highlight.js/lib/languages/lua';
import objectivec from 'highlight.js/lib/languages/objectivec';
import perl from 'highlight.js/lib/languages/perl';
import php from 'highlight.js/lib/languages/php';
import powershell from 'highlight.js/lib/languages/powershell';
import python from 'highlight.js/lib/languages/python';
import ruby from 'highlight.js/lib/languages/ruby';
import rust from 'highlight.js/lib/languages/rust';
import scala from 'highlight.js/lib/languages/scala';
import sql from 'highlight.js/lib/languages/sql';
import swift from 'highlight.js/lib/languages/swift';
import typescript from 'highlight.js/lib/languages/typescript';
import vbnet from 'highlight.js/lib/languages/vbnet';
import xml from 'highlight.js/lib/languages/xml';
import yaml from 'highlight.js/lib/languages/yaml';

export const GRAMMARS = {
  bash,
  c,
  cpp,
  csharp,
  dart,
  elixir,
  fsharp,
  go,
  groovy,
  java,
  javascript,
  json,
  kotlin,
  lua,
  objectivec,
  perl,
  php,
  powershell,
  python,
  ruby,
  rust,
  scala,
  sql,
  swift,
  typescript,
  vbnet,
  xml,
  yaml,
} satisfies Record<string, LanguageFn>;

export type Language = keyof typeof GRAMMARS;

const EXTENSIONS: Record<Language, string> = {
  bash: 'sh bash zsh',
  c: 'c h',
  cpp: 'cc cpp cxx c++ hh hpp hxx inl',
  csharp: 'cs csx cshtml razor',
  dart: 'dart',
  elixir: 'ex exs',
  fsharp: 'fs fsi fsx',
  go: 'go',
  groovy: 'groovy gradle',
  java: 'java',
  javascript: 'js jsx mjs cjs',
  json: 'json',
  kotlin: 'kt kts',
  lua: 'lua',
  objectivec: 'm mm',
  perl: 'pl pm',
  php: 'php phtml',
  powershell: 'ps1 psm1',
  python: 'py pyi pyw pyx',
  ruby: 'rb rake gemspec',
  rust: 'rs',
  scala: 'scala sc',
  sql: 'sql',
  swift: 'swift',
  typescript: 'ts tsx mts cts',
  vbnet: 'vb',
  xml: 'xml html htm xaml svg vue svelte erb',
  yaml: 'yaml yml',
};

const BY_EXTENSION = new Map(
  (Object.keys(EXTENSIONS) as Language[]).flatMap((language) =>
    EXTENSIONS[language].split(' ').map((extension) => [extension, language] as const),
  ),
);

/** The language of a file by its extension; a query or fragment is ignored. */
export function languageOf(filename: string | null): Language | null {
  // The end is enough; the expression would be slow on a very long name.
  const extension = /\.([\w+]+)(?:[?#].*)?$/.exec(filename?.slice(-1_000) ?? '')?.[1];
  return BY_EXTENSION.get(extension?.toLowerCase() ?? '') ?? null;
}
