import { useMemo, type KeyboardEvent } from 'react';

import type { SourceLine } from '../model/event';
import { CopyButton } from './CopyButton';
import type { LineMark } from './coverage';
import { highlightLines, type TokenLine } from './highlight';
import { languageOf } from './languages';
import { revealInvisible } from './SafeText';
import { Tooltip } from './Tooltip';

interface Props {
  lines: SourceLine[];
  activeLineNo: number | null;
  filename: string | null;
  marks: (LineMark | undefined)[];
  isExpanded: boolean;
}

function withoutLineEnd(text: string): string {
  return text.replace(/[\r\n]+$/, '');
}

export function SourceLines({ lines, activeLineNo, filename, marks, isExpanded }: Props) {
  const highlighted = useMemo(() => {
    const texts = lines.map(([, text]) => withoutLineEnd(text).replaceAll(/\r?\n|\r/g, ' '));
    const active = lines.findIndex(([lineNo]) => lineNo === activeLineNo);
    return highlightLines(texts, languageOf(filename), active < 0 ? null : active);
  }, [lines, activeLineNo, filename]);
  const [firstLine] = lines;
  if (firstLine === undefined) return null;

  const focusable = focusableMark(lines, marks, activeLineNo);
  const source = () => lines.map(([, text]) => withoutLineEnd(text)).join('\n');
  return (
    <div className="fc-source">
      <ol
        className="fc-lines"
        start={firstLine[0]}
        aria-label="Source code"
        // Wide lines scroll: the keyboard must be able to.
        tabIndex={isExpanded ? 0 : undefined}
        onKeyDown={moveAmongMarks}
      >
        {lines.map(([lineNo], index) => (
          <Line
            key={index}
            lineNo={lineNo}
            tokens={highlighted[index] ?? []}
            isActive={lineNo === activeLineNo}
            mark={marks[index]}
            isTabStop={index === focusable}
          />
        ))}
      </ol>
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

/** All marks together are one tab stop: the active line's, else the first. */
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
