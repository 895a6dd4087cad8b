import { CopyButton } from './CopyButton.tsx';
import { LEGEND, type CoverageAnswer } from './coverage.ts';
import { SafeText } from './SafeText.tsx';

/** A remark on the lines' colours, or why there are none, and the report's address.
 *
 * The address is text, not a link: it comes from a server.
 */
export function CoverageNote({ answer }: { answer: CoverageAnswer }) {
  const reason = answer.reason ?? '';
  const url = answer.coverageUrl ?? '';
  if (reason === '' && url === '') return null;
  return (
    <p className="fc-coverage-note">
      <span className="fc-coverage-note-label">Coverage</span>
      {reason !== '' && <SafeText text={reason} />}
      {url !== '' && (
        <span className="fc-coverage-address">
          <SafeText text={url} /> <CopyButton label="Copy report URL" text={() => url} />
        </span>
      )}
    </p>
  );
}

/** What the colours of the lines' numbers mean. */
export function CoverageLegend() {
  return (
    <p className="fc-coverage-legend">
      <span className="fc-coverage-note-label">Lines</span>
      {LEGEND.map(({ state, label }) => (
        <span key={state} className="fc-coverage-legend-mark" data-state={state}>
          {label.toLowerCase()}
        </span>
      ))}
    </p>
  );
}
