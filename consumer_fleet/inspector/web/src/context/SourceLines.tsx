import { useMemo, type KeyboardEvent } from 'react';

import type { SourceLine } from '../model/event.ts';
import { CopyButton } from './CopyButton.tsx';
import type { LineMark } from './coverage.ts';
import { highlightLines, type TokenLine } from './highlight.ts';
import { languageOf } from './languages.ts';
import { ShowMore, usePages } from './pages.tsx';
import { revealInvisible } from './SafeText.tsx';
import { Tooltip } from './Tooltip.tsx';

interface Props {
  lines: SourceLine[];
  activeLineNo: number | null;
  filename: string | null;
  marks: (LineMark | undefined)[];
  isExpanded: boolean;
}

const PAGE_SIZE = 500;
const MAX_LINE_LENGTH = 20_000;

function withoutLineEnd(text: string): string {
  let end = text.length;
  while (end > 0 && '\r\n'.includes(text.charAt(end - 1))) end -= 1;
  return text.slice(0, end);
}

function shownText(text: string): string {
  const line = withoutLineEnd(text);
  const shown = line.length > MAX_LINE_LENGTH ? `${line.slice(0, MAX_LINE_LENGTH)} …` : line;
  return shown.replaceAll(/\r?\n|\r/g, ' ');
}

export function SourceLines({ lines, activeLineNo, filename, marks, isExpanded }: Props) {
  const active = lines.findIndex(([lineNo]) => lineNo === activeLineNo);
  const pages = usePages(lines, { size: PAGE_SIZE, around: active });
  const { shown, start } = pages;
  const end = start + shown.length;
  const highlighted = useMemo(() => {
    const texts = lines.slice(start, end).map(([, text]) => shownText(text));
    // The line of a folded frame is plain: a long stack trace has hundreds of them.
    const language = isExpanded ? languageOf(filename) : null;
    return highlightLines(texts, language, active < start ? null : active - start);
  }, [lines, start, end, active, filename, isExpanded]);
  const [firstLine] = shown;
  if (firstLine === undefined) return null;

  const shownMarks = marks.slice(start, end);
  const focusable = focusableMark(shown, shownMarks, activeLineNo);
  const source = () => lines.map(([, text]) => withoutLineEnd(text)).join('\n');
  return (
    <div className="fc-source">
      <ol
        className="fc-lines"
        start={firstLine[0]}
        aria-label="Source code"
        // Wide lines scroll: they must be reachable by keyboard.
        tabIndex={isExpanded ? 0 : undefined}
        onKeyDown={moveAmongMarks}
      >
        {shown.map(([lineNo], index) => (
          <Line
            key={index}
            lineNo={lineNo}
            tokens={highlighted[index] ?? []}
            isActive={lineNo === activeLineNo}
            mark={shownMarks[index]}
            isTabStop={index === focusable}
          />
        ))}
      </ol>
      <ShowMore pages={pages} what="lines" />
      {isExpanded && <CopyButton label="Copy source" text={source} />}
    </div>
  );
}

interface LineProps {
  lineNo: number;
  tokens: TokenLine;
  isActive: boolean;
  mark: LineMark | undefined;
  isTabStop: boolean;
}

function Line({ lineNo, tokens, isActive, mark, isTabStop }: LineProps) {
  return (
    <li
      className={`fc-line ${isActive ? 'fc-line-active' : ''}`}
      aria-current={isActive || undefined}
      data-coverage={mark?.state ?? 'none'}
      data-testid="context-line"
    >
      <span className="fc-line-number">
        {mark === undefined ? (
          lineNo
        ) : (
          <Tooltip text={mark.label} className="fc-coverage-mark" tabIndex={isTabStop ? 0 : -1}>
            {lineNo}
          </Tooltip>
        )}
      </span>
      <code className="fc-code">
        {tokens.map((token, index) => (
          <span key={index} className={token.className ?? undefined}>
            {revealInvisible(token.text)}
          </span>
        ))}
      </code>
    </li>
  );
}

/** All marks share one tab stop: the active line's mark, else the first. */
function focusableMark(
  lines: SourceLine[],
  marks: (LineMark | undefined)[],
  activeLineNo: number | null,
): number {
  const active = lines.findIndex(([lineNo]) => lineNo === activeLineNo);
  return marks[active] === undefined ? marks.findIndex((mark) => mark !== undefined) : active;
}

function moveAmongMarks(event: KeyboardEvent<HTMLOListElement>) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step === undefined) return;
  const marks = [...event.currentTarget.querySelectorAll<HTMLElement>('.fc-coverage-mark')];
  const next = marks[marks.findIndex((mark) => mark === document.activeElement) + step];
  if (next === undefined) return;
  event.preventDefault();
  next.focus();
}
