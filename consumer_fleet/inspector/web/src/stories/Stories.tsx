import { CoverageCache, type CoverageAnswer } from '../context';
import {
  dotnetFrame,
  hostileFrame,
  javascriptFrame,
  nativeFrame,
  onPlatform,
  pythonFrame,
  redactedFrame,
} from './frames';
import { Story } from './Story';

const CODES = [0, 0, 1, 2, -1];

function answer(status: CoverageAnswer['status'], reason: string | null = null): CoverageCache {
  const lineCoverage = Array.from({ length: 300 }, (_, line): [number, number] => [
    line,
    CODES[line % CODES.length] ?? -1,
  ]);
  return new CoverageCache(() => Promise.resolve({ status, lineCoverage, reason }));
}

const exists = answer('COVERAGE_EXISTS');
const ofBranch = answer('COVERAGE_EXISTS', 'from branch main: Codecov does not know the commit');
const missing = answer('NO_COVERAGE_DATA', 'no report contains this file');
const failing = new CoverageCache(() => Promise.reject(new Error('down')));

const source = { hasContextSource: true };
const vars = { hasContextVars: true };
const lineless = { ...pythonFrame, frame: { ...pythonFrame.frame, lineNo: null } };
const sourceless = { ...pythonFrame, frame: { ...pythonFrame.frame, context: [] } };

export function Stories() {
  return (
    <main>
      <h1>Context</h1>
      <Story title="Source, expanded" of={pythonFrame} props={source}>
        All lines, highlighted by the file’s extension; the active line is marked.
      </Story>
      <Story title="Source, collapsed" of={pythonFrame} props={{ ...source, isExpanded: false }}>
        Only the active line.
      </Story>
      <Story title="Coverage" of={pythonFrame} props={{ ...source, coverage: exists }}>
        Covered, uncovered, partial (dashed) or none. Tab to the marks, then move with the arrows.
      </Story>
      <Story title="Coverage is missing" of={pythonFrame} props={{ ...source, coverage: missing }}>
        No marks; a note gives the reason.
      </Story>
      <Story
        title="Coverage of a branch"
        of={pythonFrame}
        props={{ ...source, coverage: ofBranch }}
      >
        A note below the lines names the branch.
      </Story>
      <Story title="Coverage fails" of={pythonFrame} props={{ ...source, coverage: failing }}>
        A failure is not shown and not retried.
      </Story>
      <Story title="No active line" of={lineless} props={{ ...source, coverage: exists }}>
        Coverage is not used.
      </Story>
      <Story title="No details" of={sourceless} props={{ emptySourceNotation: true }}>
        With <code>emptySourceNotation</code>.
      </Story>
      <Story
        title="A source flag with an empty list"
        of={sourceless}
        props={{ ...source, emptySourceNotation: true }}
      >
        Does not crash.
      </Story>
      <Story title="Python variables" of={pythonFrame} props={vars}>
        Clipped at 100 px; 64-bit integers are exact.
      </Story>
      <Story title="Redaction" of={redactedFrame} props={vars}>
        Hover or focus a mark to see its rule and method.
      </Story>
      <Story title="JavaScript variables" of={javascriptFrame} props={{ ...source, ...vars }}>
        <code>null</code> and <code>undefined</code>.
      </Story>
      {['ruby', 'php', 'python', 'node'].map((platform) => (
        <Story
          key={platform}
          title={`Scalars on ${platform}`}
          of={onPlatform(platform)}
          props={vars}
        >
          The same values in the platform’s notation.
        </Story>
      ))}
      <Story title="Registers" of={nativeFrame} props={{ ...source, hasContextRegisters: true }}>
        Unknown names first, then the CPU’s order; a click shows the exact decimal.
      </Story>
      <Story title="Assembly" of={dotnetFrame} props={{ ...source, hasAssembly: true }}>
        Name, version, culture, token, and a path to copy.
      </Story>
      <Story
        title="Hostile content"
        of={hostileFrame}
        props={{ ...source, ...vars, hasContextRegisters: true }}
      >
        Markup is text; characters that reorder or hide are visible.
      </Story>
    </main>
  );
}
